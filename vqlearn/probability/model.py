r"""The token model: what every model of tokens can do, in one page.

A **token model** is a distribution over sequences of n tokens of K codes. It can be trained, asked
for its negative log-likelihood, and sampled, with some tokens given or none, with a condition or
none. VQ-Diffusion, multinomial and D3PM diffusion (`diffusion.model.DiffusionModel`), the raster
transformer and the pixel networks (`autoregressive`), and ImageBART are all token models.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqlearn.probability.checks import (
    check_integer,
    check_number,
    check_sequences,
    shown,
)
from vqlearn.probability.random import Generators

MAX_GUIDANCE = 1000
LEAST_TRUNCATION = torch.finfo(torch.float32).tiny  # smaller ones are 0 beside probabilities
NO_NULL = "null is None; allowed with guidance: the states of the null embedding"


@dataclass(frozen=True)
class Sampling:
    """How a model is sampled; the names are those of the pipeline's call.

    - `guidance_scale`: classifier-free guidance (`filters.guide`); up to 1: the condition alone.
    - `truncation_rate`: nucleus (top-p) sampling (`filters.top_p`), up to 1; there nothing is cut.
    - `num_inference_steps`: sampling steps of a diffusion model, 1..T; None: every level.
      Autoregressive models take one step a token, whatever it says.

    Numbers of any type are kept as Python's own. Raises `TypeError` or `ValueError` for those that
    mean nothing.
    """

    guidance_scale: float = 1.0
    truncation_rate: float = 1.0
    num_inference_steps: int | None = None

    def __post_init__(self) -> None:
        check_number("guidance_scale", self.guidance_scale)
        check_number("truncation_rate", self.truncation_rate)
        if not abs(self.guidance_scale) <= MAX_GUIDANCE:
            raise ValueError(
                f"guidance_scale is {shown(self.guidance_scale)}; "
                f"allowed: -{MAX_GUIDANCE} to {MAX_GUIDANCE}"
            )
        if not LEAST_TRUNCATION <= self.truncation_rate <= 1:
            raise ValueError(
                f"truncation_rate is {shown(self.truncation_rate)}; "
                f"allowed: {LEAST_TRUNCATION:.1e} to 1"
            )
        plain = {name: float(getattr(self, name)) for name in ("guidance_scale", "truncation_rate")}
        if self.num_inference_steps is not None:
            check_integer("num_inference_steps", self.num_inference_steps, 1)
            plain["num_inference_steps"] = int(self.num_inference_steps)
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @property
    def is_guided(self) -> bool:
        """Whether guidance changes anything."""
        return self.guidance_scale > 1


PLAIN = Sampling()
"""The model's own distribution: no guidance, nothing cut, every level."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a model attends to: the text states of one caption for each sequence.

    `null` are the states of the null embedding, once: guidance needs them.
    """

    text: Float[Tensor, "b l c"]
    null: Float[Tensor, "1 l c"] | None = None

    def __len__(self) -> int:
        """The number of captions."""
        return len(self.text)

    def null_text(self) -> Float[Tensor, "b l c"]:
        """The null embedding, once for each sequence. Raises `ValueError` if there is none."""
        if self.null is None:
            raise ValueError(NO_NULL)
        return self.null.to(self.text.dtype).expand(len(self.text), -1, -1)


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
        condition: Conditioning | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """What training lowers, nats per token, one number for each sequence."""

    def nll(
        self,
        x: Int[Tensor, "b n"],
        condition: Conditioning | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, " b"]:
        """-log p(x | condition), or an unbiased estimate of an upper bound: nats per sequence."""

    def sample(
        self,
        count: int,
        condition: Conditioning | None = None,
        *,
        given: Given | None = None,
        sampling: Sampling = PLAIN,
        generator: Generators = None,
    ) -> Int[Tensor, "b n"]:
        """Draw `count` sequences; the given tokens stay."""


def check_request(
    model: TokenModel, count: int, condition: Conditioning | None, given: Given | None
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
    condition: Conditioning | None, *, reads_text: bool, guided: bool = False
) -> None:
    """Refuse a condition that a model does not read, or lacks.

    Raises `ValueError`; with guidance also where the null embedding is missing.
    """
    if reads_text and condition is None:
        raise ValueError("condition is None; allowed: a Conditioning, since the network reads text")
    if condition is not None and not reads_text:
        raise ValueError("condition is a Conditioning; allowed: None, the network reads no text")
    if guided and condition is None:
        raise ValueError("condition is None; allowed with a guidance scale above 1: a Conditioning")
    if guided and condition.null is None:
        raise ValueError(NO_NULL)
