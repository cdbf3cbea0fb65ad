"""Each promise of the contract can fail: an error planted in two models is caught by its test."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from contracts import contract
from contracts.cases import CASES

from vqlearn.autoregressive import decoding
from vqlearn.autoregressive import model as autoregressive
from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.autoregressive.raster_transformer import RasterTransformer
from vqlearn.diffusion import model as diffusion
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.probability.filters import temperature


@dataclass(frozen=True)
class Planted:
    """An error: what stands in place of a function, made from the right one."""

    where: object
    name: str
    wrong: Callable[[Callable], object]
    promise: Callable


def scaled(factor: float) -> Callable[[Callable], Callable]:
    """The right result times a factor."""
    return lambda right: lambda *args, **options: right(*args, **options) * factor


def shifted(right: Callable) -> Callable:
    """Probabilities that are all 1 % too large."""
    return lambda *args, **options: right(*args, **options) + 0.01


def sharpened(right: Callable) -> Callable:
    """A decoder with a temperature of 0.8."""

    def plain_decoder(model: AutoregressiveModel, text: object) -> Callable:
        decoder = right(model, text)
        return lambda prefix: temperature(decoder(prefix), 0.8)

    return plain_decoder


def looking_ahead(right: Callable) -> Callable:
    """Each position gets the token that it must predict."""
    return lambda model, h, *text: right(model, h.roll(-1, dims=1), *text)


IN_A_RASTER_TRANSFORMER = [
    Planted(AutoregressiveModel, "exact", lambda _: False, contract.it_is_a_token_model),
    Planted(AutoregressiveModel, "log_probs", shifted, contract.all_sequences_have_probability_one),
    Planted(AutoregressiveModel, "nll", scaled(0.9), contract.nll_is_minus_log_p_or_above_it),
    Planted(
        RasterTransformer,
        "plain_decoder",
        sharpened,
        contract.samples_follow_the_exact_distribution,
    ),
    Planted(
        RasterTransformer, "plain_decoder", sharpened, contract.a_decoder_says_what_one_call_says
    ),
    Planted(
        decoding, "keep_given", lambda _: lambda decoder, _: decoder, contract.given_tokens_stay
    ),
    Planted(
        RasterTransformer,
        "from_embedding",
        looking_ahead,
        contract.no_position_depends_on_itself_or_a_later_one,
    ),
    Planted(
        autoregressive,
        "check_request",
        lambda _: lambda *args: None,
        contract.wrong_input_is_refused,
    ),
    Planted(
        AutoregressiveModel, "loss", scaled(0.9), contract.the_loss_is_the_nll_without_its_prior
    ),
    Planted(
        decoding,
        "sample",
        lambda right: (
            lambda decoder, *rest, **options: right(
                lambda prefix: temperature(decoder(prefix), 0.8), *rest, **options
            )
        ),
        contract.a_given_prefix_conditions_an_autoregressive_model,
    ),
]
IN_A_DIFFUSION = [
    Planted(DiffusionModel, "exact", lambda _: True, contract.it_is_a_token_model),
    Planted(MaskAndReplace, "log_reverse", shifted, contract.all_sequences_have_probability_one),
    Planted(diffusion, "variational_bound", scaled(0.5), contract.nll_is_minus_log_p_or_above_it),
    Planted(
        diffusion,
        "levels_to_visit",
        lambda _: lambda num_timesteps, _: [num_timesteps, 0],
        contract.samples_follow_the_exact_distribution,
    ),
    Planted(
        diffusion,
        "guide",
        lambda _: lambda conditional, unconditional, scale: conditional,
        contract.samples_follow_the_exact_distribution,
    ),
    Planted(
        diffusion,
        "sample",
        lambda right: lambda *args, given, **options: right(*args, given=None, **options),
        contract.given_tokens_stay,
    ),
    Planted(
        diffusion, "check_request", lambda _: lambda *args: None, contract.wrong_input_is_refused
    ),
    Planted(
        diffusion,
        "training_loss",
        lambda right: (
            lambda *args, **options: right(*args, **options)._replace(
                total=0.8 * right(*args, **options).total
            )
        ),
        contract.the_loss_is_the_nll_without_its_prior,
    ),
]


@pytest.mark.parametrize(
    ("case", "planted"),
    [
        *(("raster transformer", planted) for planted in IN_A_RASTER_TRANSFORMER),
        *(("vq-diffusion, paper", planted) for planted in IN_A_DIFFUSION),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.name}",
)
def test_a_planted_violation_is_caught(case, planted, monkeypatch):
    model = CASES[case].fresh()
    right = getattr(planted.where, planted.name)
    monkeypatch.setattr(planted.where, planted.name, planted.wrong(right))
    caught = (AssertionError, pytest.fail.Exception)
    if planted.promise is contract.wrong_input_is_refused:
        caught = Exception  # without a refusal something else fails, somewhere else
    with pytest.raises(caught):
        planted.promise(CASES[case], model)
