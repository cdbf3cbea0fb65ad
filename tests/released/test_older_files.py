"""Files of an older code, and files with weights that nobody has listed."""

import pytest
import torch
from support.official_files import write_training

from vqlearn import CheckpointError
from vqlearn.released import convert, read_training_file
from vqlearn.released.conversion import books
from vqlearn.released.conversion.plan import Asked, plan_of

ALPHA = [f"log_{kind}alpha" for kind in ("", "1_min_", "cumprod_", "1_min_cumprod_")]


@pytest.fixture
def official(converted):
    return converted("coco_learnable").official


def written(official, place, *, model=None, ema=None):
    """A file with these weights besides the official ones, or in their place."""
    content = official.content
    return write_training(
        place / "other.pth", content["model"] | (model or {}), content["ema"] | (ema or {})
    )


def weights_of(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}


def test_the_schedule_of_an_older_code_is_dropped(official, tmp_path):
    """Names that a published error message lists: cientgu/VQ-Diffusion, issue 27."""
    there = {name: torch.rand(101) for name in ALPHA}
    file = written(
        official, tmp_path, model={f"transformer.{k}": w for k, w in there.items()}, ema=there
    )
    convert(file, tmp_path / "out", **official.options)
    assert weights_of(tmp_path / "out") == weights_of(official.file.parent / "out")
    found = plan_of("file", read_training_file(file), Asked(**official.options)).books.dropped
    assert {f"ema.{name}" for name in ALPHA} | {f"model.transformer.{name}" for name in ALPHA} <= (
        set(found)
    )


def test_the_schedule_is_that_of_the_raw_weights(official, tmp_path):
    """The average of a constant has the rounding of many float32 sums, 5e-5 at a decay of .9999."""
    drifted = {k: w + 5e-5 for k, w in official.content["ema"].items() if k.startswith("log_cum")}
    convert(written(official, tmp_path, ema=drifted), tmp_path / "out", **official.options)
    wrong = {f"transformer.{k}": w for k, w in drifted.items()}
    with pytest.raises(CheckpointError, match="is another schedule"):
        convert(written(official, tmp_path, model=wrong), tmp_path / "no", **official.options)


def test_unknown_weights_that_are_named_are_dropped(official, tmp_path):
    other = {
        "transformer.helper.bias": torch.ones(2),
        "extra.1": torch.ones(1),
        "extra.2": torch.ones(1),
    }
    file = written(official, tmp_path, model=other, ema={"helper.bias": torch.ones(2)})
    named = ("transformer.helper.bias", "extra.*")
    convert(file, tmp_path / "out", **official.options, unused=named)
    assert weights_of(tmp_path / "out") == weights_of(official.file.parent / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    for count, pattern in zip((2, 2), named, strict=True):
        assert f"| {count} | {books.UNUSED}: `{pattern}` |" in card
    for unused, left in ((named[:1], "extra.1"), (named[1:], "transformer.helper.bias")):
        with pytest.raises(CheckpointError, match=f"unknown .'{left}'.; allowed: .*--drop"):
            convert(file, tmp_path / "no", **official.options, unused=unused)


@pytest.mark.parametrize("unused", ["nothing", "transformer.transformer.*", "*.attn1.key.weight"])
def test_what_a_model_needs_is_never_dropped(official, tmp_path, unused):
    """Nor is a name passed over that stands for no weight."""
    message = "--drop is '.*'; allowed: an unknown weight outside the networks"
    with pytest.raises(CheckpointError, match=message):
        convert(official.file, tmp_path / "out", **official.options, unused=[unused])
    assert not (tmp_path / "out").exists()


GAPS = [
    "transformer.transformer.blocks.{}.",
    "transformer.condition_emb.transformer.resblocks.{}.",
    "content_codec.enc.encoder.down.{}.",
    "content_codec.enc.encoder.down.0.block.{}.",
]


@pytest.mark.parametrize("part", GAPS)
def test_a_part_that_is_missing_in_a_row_is_named(official, tmp_path, part):
    """The rest of the row is none of the weights that may be dropped, either."""
    last = max(
        n for n in range(9) if any(k.startswith(part.format(n)) for k in official.content["model"])
    )
    moved = {}
    for section, prefix in (("model", ""), ("ema", "transformer.")):
        old, new = (part.format(n).removeprefix(prefix) for n in (last, last + 1))
        state = official.content[section]
        moved[section] = {
            k.replace(old, new) if k.startswith(old) else k: w for k, w in state.items()
        }
    file = write_training(tmp_path / "gap.pth", moved["model"], moved["ema"])
    name = part.format(last)[:-1]
    for unused in ((), (f"{part.format(last + 1)}*",)):
        with pytest.raises(CheckpointError, match=f"lacks the weights '{name}', and has those of"):
            convert(file, tmp_path / "out", **official.options, unused=unused)


@pytest.mark.parametrize(
    "key",
    [
        "transformer.transformer.blocks.1.attn3.key.weight",
        "transformer.condition_emb.transformer.resblocks.0.more.bias",
        "content_codec.dec.decoder.mid.attn_2.q.bias",
    ],
)
def test_a_weight_more_in_a_network_cannot_be_dropped(official, tmp_path, key):
    file = written(official, tmp_path, model={key: torch.ones(1)})
    with pytest.raises(CheckpointError, match=f"1 are unknown .'{key}'"):
        convert(file, tmp_path / "out", **official.options, unused=[key])
    assert not (tmp_path / "out").exists()


def test_a_name_of_the_average_is_enough(official, tmp_path):
    file = written(official, tmp_path, ema={"helper.bias": torch.ones(2)})
    convert(file, tmp_path / "out", **official.options, unused=["helper.bias"])
    assert weights_of(tmp_path / "out") == weights_of(official.file.parent / "out")
