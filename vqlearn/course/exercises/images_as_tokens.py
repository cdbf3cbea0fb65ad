"""Exercises of lesson 01: the two nearest codes, and vectors quantised with their loss."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vqlearn.course.exercise import Arguments, Exercise, Mistake, Property

Results = Sequence[np.ndarray]


def two_nearest_codes(features: Tensor, codebook: Tensor) -> Tensor:
    """The two nearest codes of each position, the nearest first.

    `features` (b, c, h, w) as a convolution returns them, `codebook` (K, c): tokens (b, h, w, 2).
    """
    return _squared_distances(features, codebook).argsort(-1)[..., :2]


def _squared_distances(features: Tensor, codebook: Tensor) -> Tensor:
    vectors = features.movedim(1, -1)  # (b, h, w, c)
    return (vectors[..., None, :] - codebook).square().sum(-1)  # (b, h, w, K)


def _farthest(features: Tensor, codebook: Tensor) -> Tensor:
    return _squared_distances(features, codebook).argsort(-1, descending=True)[..., :2]


def _second_first(features: Tensor, codebook: Tensor) -> Tensor:
    return two_nearest_codes(features, codebook).flip(-1)


def _not_permuted(features: Tensor, codebook: Tensor) -> Tensor:
    b, c, h, w = features.shape
    return two_nearest_codes(features.reshape(b, h, w, c).movedim(-1, 1), codebook)


def _columns_first(features: Tensor, codebook: Tensor) -> Tensor:
    b, c, h, w = features.shape
    vectors = features.permute(0, 3, 2, 1).reshape(b, h, w, c)
    return two_nearest_codes(vectors.movedim(-1, 1), codebook)


def _factor_missing(features: Tensor, codebook: Tensor) -> Tensor:
    distances = codebook.square().sum(-1) - features.movedim(1, -1) @ codebook.T
    return distances.argsort(-1)[..., :2]


def _length_missing(features: Tensor, codebook: Tensor) -> Tensor:
    products = features.movedim(1, -1) @ codebook.T
    return products.argsort(-1, descending=True)[..., :2]


def _feature_maps(generator: torch.Generator) -> list[Arguments]:
    """Codes of very different lengths: they show how a distance was computed."""
    calls = []
    for *shape, num_codes in ((1, 2, 3, 4, 5), (2, 4, 3, 3, 6), (3, 3, 2, 5, 4), (2, 3, 1, 1, 2)):
        features = torch.randn(shape, generator=generator, dtype=torch.float64)
        codes = torch.randn(num_codes, shape[1], generator=generator, dtype=torch.float64)
        lengths = torch.linspace(0.3, 2.5, num_codes, dtype=torch.float64)
        calls.append((features, codes * lengths[:, None]))
    return calls


def _are_tokens(arguments: Arguments, results: Results) -> bool:
    return bool(np.isin(results[0], np.arange(len(arguments[1]))).all())


def _are_two(_: Arguments, results: Results) -> bool:
    return bool((results[0][..., 0] != results[0][..., 1]).all())


def _nearer_first(arguments: Arguments, results: Results) -> bool:
    distances = _squared_distances(*arguments).numpy()
    chosen = np.take_along_axis(distances, results[0].astype(int), axis=-1)
    return bool((chosen[..., 0] <= chosen[..., 1] + 1e-6).all())


def quantise_with_loss(vectors: Tensor, codebook: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Nearest codes with a straight-through gradient, and the loss that pulls both together.

    `vectors` (n, c), `codebook` (K, c): output (n, c), and a loss without axes. The last two terms
    of van den Oord et al. 2017, eq. 3: summed over c as there, the mean over n.
    """
    codes = _nearest(vectors, codebook)  # (n, c)
    output = vectors + (codes - vectors).detach()
    return output, _squared(vectors.detach(), codes) + beta * _squared(vectors, codes.detach())


def _nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """The nearest code of each vector, with its gradient to the codebook."""
    return codebook[(vectors[:, None] - codebook).square().sum(-1).argmin(-1)]


def _squared(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().sum(-1).mean()


def _weight_on_codebook(vectors: Tensor, codebook: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    output, _ = quantise_with_loss(vectors, codebook, beta)
    codes = _nearest(vectors, codebook)
    return output, beta * _squared(vectors.detach(), codes) + _squared(vectors, codes.detach())


def _straight_through_reversed(
    vectors: Tensor, codebook: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    codes = _nearest(vectors, codebook)
    _, loss = quantise_with_loss(vectors, codebook, beta)
    return codes + (vectors - codes).detach(), loss


def _loss_after_straight_through(
    vectors: Tensor, codebook: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    output, _ = quantise_with_loss(vectors, codebook, beta)
    loss = _squared(vectors.detach(), output) + beta * _squared(vectors, output.detach())
    return output, loss


def _no_straight_through(vectors: Tensor, codebook: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    _, loss = quantise_with_loss(vectors, codebook, beta)
    return _nearest(vectors, codebook), loss


def _mean_over_numbers(vectors: Tensor, codebook: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    output, loss = quantise_with_loss(vectors, codebook, beta)
    return output, loss / vectors.shape[1]


def _no_stop_gradient(vectors: Tensor, codebook: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    output, _ = quantise_with_loss(vectors, codebook, beta)
    return output, (1 + beta) * _squared(vectors, _nearest(vectors, codebook))


def _vectors_and_codes(generator: torch.Generator) -> list[Arguments]:
    calls = []
    for n, c, num_codes, beta in ((5, 2, 3, 0.25), (3, 4, 6, 0.5), (8, 3, 4, 1.0), (1, 2, 5, 0.0)):
        vectors = torch.randn(n, c, generator=generator, dtype=torch.float64)
        codes = torch.randn(num_codes, c, generator=generator, dtype=torch.float64)
        calls.append((vectors, codes, beta))
    return calls


def _outputs_are_codes(arguments: Arguments, results: Results) -> bool:
    gaps = np.abs(results[0][:, None] - arguments[1].numpy()).max(-1)  # (n, K)
    return bool((gaps.min(-1) < 1e-4).all())


def _loss_is_no_less_than_zero(_: Arguments, results: Results) -> bool:
    return bool(results[1] >= 0)


def _vectors_learn(_: Arguments, results: Results) -> bool:
    return bool((np.abs(results[2]).sum(-1) > 0).all())


def _only_chosen_codes_learn(arguments: Arguments, results: Results) -> bool:
    vectors, codebook, _ = arguments
    chosen = torch.cdist(vectors, codebook).argmin(-1).unique().numpy()
    learning = np.flatnonzero(np.abs(results[3]).sum(-1))
    return np.array_equal(chosen, learning)


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        "two_nearest_codes",
        lesson=1,
        points=2,
        reference=two_nearest_codes,
        probes=_feature_maps,
        mistakes=(
            Mistake("farthest", "the farthest codes were taken, not the nearest", _farthest),
            Mistake("second_first", "the nearest code stands behind the second", _second_first),
            Mistake("not_permuted", "(b, c, h, w) was reshaped without a permute", _not_permuted),
            Mistake("columns_first", "h and w were exchanged on the way", _columns_first),
            Mistake("factor_missing", "the product of z and e lacks its factor 2", _factor_missing),
            Mistake("length_missing", "the code's own length was left out", _length_missing),
        ),
        properties=(
            Property("every result is a token, 0 to K - 1", _are_tokens),
            Property("a position has two different codes", _are_two),
            Property("the first code is at least as near as the second", _nearer_first),
        ),
    ),
    Exercise(
        "quantise_with_loss",
        lesson=1,
        points=3,
        reference=quantise_with_loss,
        probes=_vectors_and_codes,
        mistakes=(
            Mistake(
                "weight_on_codebook",
                "beta weighs the codebook term instead of the commitment term",
                _weight_on_codebook,
                "taming-transformers, VectorQuantizer2 with legacy=True; diffusers with legacy",
            ),
            Mistake(
                "straight_through_reversed",
                "detach stands on the wrong side of the straight-through line",
                _straight_through_reversed,
                "lesson 01, exercise 1",
            ),
            Mistake(
                "loss_after_straight_through",
                "the loss was computed from the straight-through output, so no code learns",
                _loss_after_straight_through,
            ),
            Mistake(
                "no_straight_through",
                "the output is the code itself, so its gradient never reaches the vectors",
                _no_straight_through,
            ),
            Mistake(
                "mean_over_numbers",
                "the mean was taken over the numbers of a vector too, not their sum",
                _mean_over_numbers,
            ),
            Mistake(
                "no_stop_gradient",
                "no gradient was stopped in the loss, so both terms move both sides",
                _no_stop_gradient,
            ),
        ),
        properties=(
            Property("every output is a code", _outputs_are_codes),
            Property("the loss is 0 or more", _loss_is_no_less_than_zero),
            Property("every vector gets a gradient", _vectors_learn),
            Property(
                "the codes that were chosen get a gradient, and no others",
                _only_chosen_codes_learn,
            ),
        ),
        differentiable=(0, 1),
    ),
)
