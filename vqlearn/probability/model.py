r"""The token model: what every model of tokens can do, in one page.

A **token model** is a distribution over sequences of n tokens of K codes. It can be trained, asked
for its negative log-likelihood, and sampled, with some tokens given or none, with a condition or
none. VQ-Diffusion, multinomial and D3PM diffusion (`diffusion.model.DiffusionModel`), the raster
transformer and the pixel networks (`autoregressive`), and ImageBART are all token models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import NoneType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.probability.checks import (
    Level,
    check_integer,
    check_number,
    check_sequences,
    shown,
)
from vqlearn.probability.random import Generators

MAX_GUIDANCE = 1000
LEAST_TRUNCATION = torch.finfo(torch.float32).tiny  # smaller ones are 0 beside probabilities
NO_NULL = "null is None; allowed with guidance: the states of the null embedding"
NO_NULL_CLASS = "null is None; allowed with guidance: the number of the null class"

GuidanceScale = float | Callable[[int], float]
"""The scale w of classifier-free guidance, or a function that gives it for a noise level t."""


@dataclass(frozen=True)
class Sampling:
    """How a model is sampled; the names are those of the pipeline's call.

    - `guidance_scale`: classifier-free guidance (`filters.guide`); up to 1: the condition alone.
      Of a diffusion model it may be a function of the noise level t, an int in 1..T: T is pure
      noise. It must answer for every level, and its answers are used as they are, below 1 too.
    - `truncation_rate`: nucleus (top-p) sampling (`filters.top_p`), up to 1; there nothing is cut.
    - `num_inference_steps`: sampling steps of a diffusion model, 1..T; None: every level.
      Autoregressive models take one step a token, whatever it says.

    Numbers of any type are kept as Python's own. Raises `TypeError` or `ValueError` for those that
    mean nothing.
    """

    guidance_scale: GuidanceScale = 1.0
    truncation_rate: float = 1.0
    num_inference_steps: int | None = None

    def __post_init__(self) -> None:
        check_number("truncation_rate", self.truncation_rate)
        if not LEAST_TRUNCATION <= self.truncation_rate <= 1:
            raise ValueError(
                f"truncation_rate is {shown(self.truncation_rate)}; "
                f"allowed: {LEAST_TRUNCATION:.1e} to 1"
            )
        plain = {"truncation_rate": float(self.truncation_rate)}
        if not callable(self.guidance_scale):
            limits = (-MAX_GUIDANCE, MAX_GUIDANCE)
            check_number("guidance_scale", self.guidance_scale, limits)
            plain["guidance_scale"] = float(self.guidance_scale)
        if self.num_inference_steps is not None:
            check_integer("num_inference_steps", self.num_inference_steps, 1)
            plain["num_inference_steps"] = int(self.num_inference_steps)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def is_guided(self) -> bool:
        """Whether guidance changes anything; a function of the level may."""
        return callable(self.guidance_scale) or self.guidance_scale > 1

    def scale_at(self, t: Level) -> float | Float[Tensor, "b 1 1"]:
        """The guidance scale at level t: a tensor only of a function, at one level a sequence.

        Raises `TypeError` or `ValueError` if the function gives anything but finite numbers of 0 or
        more (up to 1000).
        """
        if not callable(self.guidance_scale):
            return self.guidance_scale
        if not isinstance(t, int):
            scales = [self.scale_at(each) for each in t.tolist()]
            return torch.tensor(scales, dtype=torch.float64)[:, None, None]
        scale = self.guidance_scale(t)
        check_number(f"guidance_scale({t})", scale, (0, MAX_GUIDANCE))
        return float(scale)


PLAIN = Sampling()
"""The model's own distribution: no guidance, nothing cut, every level."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a model attends to: the text states of one caption for each sequence.

    `null` are the states of the null embedding, or of a negative prompt, once for all sequences or
    once for each: guidance needs them.
    """

    text: Float[Tensor, "b l c"]
    null: Float[Tensor, "#b l c"] | None = None

    def __len__(self) -> int:
        """The number of captions."""
        return len(self.text)

    def null_text(self) -> Float[Tensor, "b l c"]:
        """The null embedding, once for each sequence.

        Raises `ValueError` if there is none, or neither one nor one for each sequence.
        """
        if self.null is None:
            raise ValueError(NO_NULL)
        if len(self.null) not in (1, len(self)):
            raise ValueError(f"null is {len(self.null)} of {len(self)}; allowed: one, or one each")
        return self.null.to(self.text.dtype).expand(len(self.text), -1, -1)

    def network_input(self, *, guided: bool) -> Float[Tensor, "rows l c"]:
        """What the network reads: the text states; if guided, those of "no caption" before them."""
        return torch.cat([self.null_text(), self.text]) if guided else self.text


@dataclass(frozen=True, eq=False)
class ClassConditioning:
    """What a class-conditional model is told: the number of a class for each sequence.

    `null` is the number of the null class, "no class": guidance and `dropped` need it.
    """

    labels: Int[Tensor, " b"]
    null: int | None = None

    def __len__(self) -> int:
        """The number of labels."""
        return len(self.labels)

    def null_labels(self) -> Int[Tensor, " b"]:
        """The null class, once for each sequence. Raises `ValueError` if there is none."""
        if self.null is None:
            raise ValueError(NO_NULL_CLASS)
        return torch.full_like(self.labels, self.null)

    def network_input(self, *, guided: bool) -> Int[Tensor, " rows"]:
        """What the network reads: the labels; if guided, the null class of each before them."""
        return torch.cat([self.null_labels(), self.labels]) if guided else self.labels

    def dropped(
        self, rate: float, *, generator: torch.Generator | None = None
    ) -> "ClassConditioning":
        """Each label replaced by the null class with probability `rate`: for training.

        So one network learns $p(x_0|x_t, y)$ and $p(x_0|x_t)$, which guidance needs. Raises
        `ValueError` for a rate outside 0..1, and if there is no null class.
        """
        check_number("rate", rate, (0, 1))
        device = generator.device if generator else "cpu"
        is_dropped = torch.rand(len(self), generator=generator, device=device) < rate
        labels = torch.where(is_dropped.to(self.labels.device), self.null_labels(), self.labels)
        return replace(self, labels=labels)


Condition = Conditioning | ClassConditioning
"""What a model is told of each sequence."""


@dataclass(frozen=True, eq=False)
class Given:
    """Tokens that stay as they are while the others are sampled: inpainting, completion.

    `tokens` count only where `where` is true.
    """

    tokens: Int[Tensor, "b n"]
    where: Bool[Tensor, "b n"]

    @classmethod
    def prefix(cls, tokens: Int[Tensor, "b n"], length: int) -> "Given":
        """The first `length` tokens of each sequence."""
        first = torch.arange(tokens.shape[1], device=tokens.device) < length
        return cls(tokens, first.expand(tokens.shape))

    def keep(self, x: Int[Tensor, "b n"]) -> Int[Tensor, "b n"]:
        """The sequences x, with the given tokens in their positions."""
        return torch.where(self.where, self.tokens, x)


@runtime_checkable
class TokenModel(Protocol):
    """A distribution p(x | condition) over sequences of n tokens of K codes; a `torch.nn.Module`.

    n times the mean of `loss`, plus the terms without parameters (the prior's), is the mean of
    `nll`, where the auxiliary weight is 0.
    """

    num_codes: int
    """K, the codes of one token."""
    num_positions: int
    """n, the tokens of one sequence."""
    exact: bool
    """Whether `nll` is -log p(x) itself; otherwise it estimates an upper bound (negative ELBO)."""

    def loss(
        self,
        x: Int[Tensor, "b n"],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """What training lowers, nats per token, one number for each sequence."""

    def nll(
        self,
        x: Int[Tensor, "b n"],
        condition: Condition | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """-log p(x | condition), or an unbiased estimate of an upper bound: nats per sequence."""

    def sample(
        self,
        count: int,
        condition: Condition | None = None,
        *,
        given: Given | None = None,
        sampling: Sampling = PLAIN,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        """Draw `count` sequences; the given tokens stay."""


def check_request(
    model: TokenModel, count: int, condition: Condition | None, given: Given | None
) -> None:
    """Refuse a call of `sample` whose captions or given tokens fit neither the model nor `count`.

    Raises `TypeError` or `ValueError` that names the value seen and the values allowed.
    """
    check_integer("count", count, 1)
    if condition is not None and len(condition) != count:
        raise ValueError(f"the number of captions is {len(condition)}; allowed: {count}, the count")
    if given is not None:
        if len(given.tokens) != count or given.where.shape != given.tokens.shape:
            seen = tuple(given.tokens.shape), tuple(given.where.shape)
            raise ValueError(f"given has the shapes {seen}; allowed: ({count}, n) twice")
        tokens = given.keep(torch.zeros_like(given.tokens))
        check_sequences("given", tokens, model.num_positions, model.num_codes)


def check_condition(
    condition: Condition | None,
    *,
    reads_text: bool,
    reads_classes: bool = False,
    guided: bool = False,
) -> None:
    """Refuse a condition that a model does not read, or lacks.

    Raises `ValueError`; with guidance also where the null embedding is missing or does not fit.
    """
    missing = "classes" if isinstance(condition, ClassConditioning) else "text"
    kind, allowed = NoneType, f"None, the network reads no {missing}"
    if reads_text:
        kind, allowed = Conditioning, "a Conditioning, since the network reads text"
    elif reads_classes:
        kind, allowed = ClassConditioning, "a ClassConditioning, since the network reads classes"
    if not isinstance(condition, kind):
        seen = "None" if condition is None else f"a {type(condition).__name__}"
        raise ValueError(f"condition is {seen}; allowed: {allowed}")
    if guided and condition is None:
        raise ValueError("condition is None; allowed with a guidance scale above 1: a condition")
    if guided:
        condition.network_input(guided=True)
