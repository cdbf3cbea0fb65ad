"""The floors of a GPU are counted, with numbers that are known, on the CPU."""

import torch
from bench import floor, raster
from bench.case import Setting
from bench.pairs import Comparison
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vqlearn.autoregressive.raster_transformer import RasterTransformerConfig
from vqlearn.transformer.denoiser import Denoiser

TWO = Setting(pairs=2)
RASTER = RasterTransformerConfig(7, 9, None, 0, width=8, num_layers=2, num_heads=2)


def test_the_operations_of_the_denoiser_are_those_that_torch_counts(tiny):
    x_t, _, text = floor.random_inputs(tiny, 3, 5)
    network = Denoiser(tiny)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(x_t, 4, text.float())  # torch counts no other kernel of attention on a CPU
    assert floor.forward_flops(tiny, 3, 5) == counter.get_total_flops()


def test_the_floor_is_the_time_of_as_many_operations_or_bytes(tiny, monkeypatch):
    fixed = Comparison((1.0,), (8.0,))
    monkeypatch.setattr(floor, "compare", lambda theirs, ours, pairs: (theirs(), ours()) and fixed)
    found = floor.arithmetic(tiny, 2, torch.float32, TWO, side=10)
    assert found.theirs == (floor.forward_flops(tiny, 2, 77) / 2000,)
    assert found.ours == (8.0,)
    weights = 4 * raster.size(raster.RasterTransformer(RASTER))
    assert floor.bandwidth(RASTER, 1, TWO, copied=500).theirs == (9 * weights / 1000,)
