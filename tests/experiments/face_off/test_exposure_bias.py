"""What a reference model makes of sampled sequences: against models whose answers are known."""

import math
from dataclasses import replace

import pytest
import torch
from support.face_off_fakes import CODES, COUNT, TRUTH, FakeData, FakeModel, N, measure, trained
from support.imagebart_toys import seeded
from torch.testing import assert_close

from vqlearn.autoregressive.raster_transformer import RasterTransformer, RasterTransformerConfig
from vqlearn.experiments.face_off import exposure_bias
from vqlearn.experiments.face_off.exposure_bias import (
    BitsByCorrectnessRun,
    ExposureBiasRun,
    SequenceBits,
)
from vqlearn.experiments.report import rounded
from vqlearn.experiments.tokens import Examples
from vqlearn.probability.estimates import Bits
from vqlearn.probability.model import Sampling


def read_by(reference, model, data=None):
    found = measure(ExposureBiasRun("a", 0), model, data, reference)
    assert found["raster"] == found["vq-diffusion"]
    return found["raster"]


def by_correctness(model):
    return measure(BitsByCorrectnessRun("a", 0), model, reference=FakeModel())


def test_bits_of_sequences_that_are_known():
    """The reference counts wrong tokens: none in the data, 3 in every drawn row."""

    def answer(truth, drawing):
        drawn = truth.clone()
        drawn[:, 2:5] = (drawn[:, 2:5] + 1) % CODES
        return drawn

    model, reference = FakeModel(answer), FakeModel()
    found = read_by(reference, model)
    nat = 1 / N / math.log(2)
    assert found.data.mean == round(3.5 * nat, 4)
    assert found.own.mean == round(6.5 * nat, 4)
    assert (found.data_by_row, found.own_by_row) == (None, None)  # only a raster network
    assert set(model.ways) == {Sampling(num_inference_steps=100)}


@pytest.fixture
def reference():
    config = RasterTransformerConfig(CODES, N, 3, 2, 8, 1, 2)
    network = RasterTransformer(config).double()
    generator = seeded(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return network.requires_grad_(False)


def test_bits_by_row_of_the_grid(reference):
    """Each token's distribution from the tokens before it, one by one; the rows sum up to all the
    bits."""
    examples = FakeData().examples["seen"]
    rows = Examples(examples.x, examples.captions, examples.text.double())
    found = exposure_bias.bits_by_grid_row(reference, rows)
    bits = torch.zeros(4, dtype=torch.float64)
    distributions = reference(rows.x, rows.text).softmax(dim=-1)
    for i in range(COUNT):
        for position in range(N):
            bits[position // 4] -= distributions[i, position, rows.x[i, position]].log2() / (
                COUNT * 4
            )
    assert_close(torch.tensor(found).double(), bits, atol=1e-4, rtol=0)
    assert bits.max() - bits.min() > 0.1
    whole = trained(reference).nll(rows, seeded(0)).mean() / N / math.log(2)
    assert sum(found) / 4 == pytest.approx(float(whole), abs=1e-4)


def test_a_raster_reference_reads_both_kinds_row_by_row(reference):
    fake = FakeData()
    for name, each in fake.examples.items():
        fake.examples[name] = replace(each, text=each.text.double())

    def answer(truth, drawing):
        return truth.flip(1)

    model = FakeModel(answer)
    found = read_by(reference, model, fake)
    rows = fake.examples["seen"]
    own = Examples(rows.x.flip(1), rows.captions, rows.text)
    assert found.data_by_row == exposure_bias.bits_by_grid_row(reference, rows) != found.own_by_row
    assert found.own_by_row == exposure_bias.bits_by_grid_row(reference, own)
    assert found.data.mean == pytest.approx(sum(found.data_by_row) / 4, abs=1e-3)
    assert found.own.mean == pytest.approx(sum(found.own_by_row) / 4, abs=1e-3)


def drawing_badly(wrong_rows):
    """Three wrong tokens in some rows, whichever of them are drawn together."""

    def answer(truth, drawing):
        drawn = TRUTH.clone()
        drawn[wrong_rows, 2:5] = (drawn[wrong_rows, 2:5] + 1) % CODES
        return drawn[[int((row == TRUTH).all(dim=1).nonzero()[0]) for row in truth]]

    return FakeModel(answer)


def test_wrong_images_are_kept_apart():
    """A sequence costs its number and one nat for each wrong token."""
    model = drawing_badly([1, 3, 4])
    found = by_correctness(model)
    expected = {"true": range(8), "right": (0, 2, 5, 6, 7), "wrong": (4, 6, 7)}
    for kind, nats in expected.items():
        nats = torch.tensor(list(nats)).double() / N / math.log(2)
        bits = Bits(float(nats.mean()), float(nats.std() / len(nats) ** 0.5))
        median = round(float(nats.median()), 4)
        assert getattr(found, kind) == SequenceBits(len(nats), rounded(bits), median)
    assert set(model.ways) == {Sampling(num_inference_steps=100)}


def test_of_a_single_sequence_only_the_number_is_told():
    assert by_correctness(drawing_badly([2])).wrong == SequenceBits(1)
    found = by_correctness(drawing_badly([]))
    assert found.wrong == SequenceBits(0)
    assert found.right == found.true
