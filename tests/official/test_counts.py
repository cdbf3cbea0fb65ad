"""The sizes at full scale have the parameter counts that were published."""

import pytest
from official import files
from official.sizes import FULL, SMALL

DENOISERS = {
    "coco_pretrained": 388_780_871,
    "coco_learnable": 388_780_871,
    "ithq_learnable": 1_359_274_624,
    "cub_s": 35_936_647,
    "imagenet_pretrained": 518_025_678,
    "imagenet_learnable": 518_037_966,
    "ffhq": 411_185_664,
}
TOKENIZERS = {
    "coco_pretrained": 68_995_971,
    "ithq_learnable": 64_009_667,
    "imagenet_pretrained": 76_073_859,
    "ffhq": 72_141_699,
}
CLIP_TEXT = 63_428_096


def count(state, prefix=""):
    """Numbers in the tensors below a prefix. Masks and running sums are no parameters."""
    no_parameters = (".mask", ".cluster_size", ".embedding_avg")
    return sum(
        value.numel()
        for key, value in state.items()
        if key.startswith(prefix) and not key.endswith(no_parameters)
    )


@pytest.mark.parametrize("name", FULL)
def test_denoiser_and_clip_at_full_size(name):
    _, ema = files.training_states(FULL[name], seed=None)
    assert count(ema, "transformer.") == DENOISERS[name]
    assert count(ema, "condition_emb.") == (CLIP_TEXT if FULL[name].text else 0)
    assert all(value.is_meta for value in ema.values())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokenizer_at_full_size(name):
    codec = files.codec_state(FULL[name].codec, seed=None)
    assert count(codec) == TOKENIZERS[name]
    model, _ = files.training_states(FULL[name], seed=None)
    twice = count(model, "content_codec.") - count(codec)
    assert twice == count(codec, "quantize.")  # only the quantizer is in both halves


def types_of_layers(state):
    """The types under each key without the numbers of blocks and levels."""
    types = {}
    for key, value in state.items():
        layer = ".".join(part for part in key.split(".") if not part.isdigit())
        types.setdefault(layer, set()).add(value.dtype)
    return types


@pytest.mark.parametrize("name", FULL)
def test_small_checkpoints_have_the_layers_and_types_of_the_full_ones(name):
    small, full = (files.training_states(sizes[name], None) for sizes in (SMALL, FULL))
    for small_state, full_state in zip(small, full, strict=True):
        assert types_of_layers(small_state) == types_of_layers(full_state)
