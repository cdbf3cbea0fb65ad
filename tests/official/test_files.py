"""The synthetic files open, or refuse to open, as the official ones do."""

import pickle
from dataclasses import replace

import pytest
import torch
from official import codec, files, reading
from official.sizes import SMALL

LEARNABLE = SMALL["coco_learnable"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "coco_learnable.pth"
    return path, files.save_training(path, LEARNABLE)


def load(path, **options):
    return torch.load(path, weights_only=True, map_location="cpu", **options)


def test_a_training_checkpoint_needs_no_trust_but_a_map_location(saved):
    path, written = saved
    found = load(path, mmap=True)
    top = ["last_epoch", "last_iter", "model", "ema", "clip_grad_norm", "optimizer_and_scheduler"]
    assert list(found) == list(written) == top
    for part in ("model", "ema"):
        assert list(found[part]) == list(written[part])
        assert all(torch.equal(found[part][key], written[part][key]) for key in written[part])
        assert found[part]._metadata[""] == {"version": 1}
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path, weights_only=True)


def test_every_weight_differs_between_model_and_ema(saved):
    model, ema = saved[1]["model"], saved[1]["ema"]
    assert {f"transformer.{key}" for key in ema} == {key for key in model if "codec" not in key}
    for key, value in ema.items():
        same = torch.equal(value, model[f"transformer.{key}"])
        assert same == (key.startswith("log_") or key.endswith(".mask")), key


def test_no_norm_and_no_bias_is_trivial(saved):
    for key, value in saved[1]["model"].items():
        if not key.endswith(".mask") and "log_" not in key:
            assert value.double().std() > 0.02, key


def test_adam_has_two_moments_for_every_trained_tensor(saved):
    module = saved[1]["optimizer_and_scheduler"]["none"]["optimizer"]["module"]
    shapes = [shape for shape, _ in files.trained(LEARNABLE).values()]
    for moment in ("exp_avg", "exp_avg_sq"):
        assert [tuple(entry[moment].shape) for entry in module["state"].values()] == shapes
    assert module["param_groups"][0]["params"] == list(module["state"])


def test_reading_puts_the_ema_over_the_model(saved):
    checkpoint = dict(saved[1])
    kept = {key: value for key, value in checkpoint["ema"].items() if key != "empty_text_embed"}
    part = reading.diffusion_part(checkpoint | {"ema": kept})
    assert part.keys() == checkpoint["ema"].keys()
    assert torch.equal(part["transformer.to_logits.1.bias"], kept["transformer.to_logits.1.bias"])
    assert part["empty_text_embed"] is checkpoint["model"]["transformer.empty_text_embed"]


def test_the_tokenizer_inside_is_the_one_of_its_own_file(saved, tmp_path):
    alone = files.save_codec(tmp_path / "vq.pth", LEARNABLE.codec)
    inside = reading.codec_part(saved[1])
    assert inside.keys() == alone.keys()
    assert all(torch.equal(inside[key], alone[key]) for key in alone)


def test_the_ema_tokenizer_is_a_plain_file(tmp_path):
    state = files.save_codec(tmp_path / "ithq_vqvae.pth", SMALL["ithq_learnable"].codec)
    found = load(tmp_path / "ithq_vqvae.pth", mmap=True)
    assert list(found) == ["model"]
    assert list(found["model"]) == list(state)


@pytest.mark.parametrize(("name", "net2net"), [("coco_pretrained", False), ("ffhq", True)])
def test_a_lightning_file_names_a_class_that_must_be_trusted(name, net2net, tmp_path):
    path = tmp_path / "last.ckpt"
    state = files.save_codec(path, SMALL[name].codec, net2net=net2net)
    with pytest.raises(pickle.UnpicklingError, match=r"pytorch_lightning\.callbacks"):
        load(path)
    with pytest.raises(ModuleNotFoundError, match="pytorch_lightning"):
        torch.load(path, weights_only=False)
    with files.lightning_callback():
        found = torch.load(path, weights_only=False)["state_dict"]
    prefix = "first_stage_model." if net2net else ""
    others = {key.split(".")[0] for key in found} - {"first_stage_model"}
    assert "transformer" in others if net2net else "loss" in others
    assert all(torch.equal(found[f"{prefix}{key}"], state[key]) for key in state)


def test_parts_joined_are_the_file(tmp_path):
    path = tmp_path / "coco.pth"
    torch.save({"last_epoch": 3}, path)
    whole = path.read_bytes()
    parts = files.split(path, 3)
    assert [part.name for part in parts] == ["coco_aa", "coco_ab", "coco_ac"]
    assert sorted(tmp_path.iterdir()) == parts
    assert b"".join(part.read_bytes() for part in parts) == whole


def test_remap_sends_unused_codes_to_0_which_decodes_as_full_code_0(tmp_path):
    table = files.save_remap(tmp_path / "map.pt", LEARNABLE)
    assert torch.equal(load(tmp_path / "map.pt"), table)
    full = codec.full_codes(table)
    assert (len(table), len(full)) == (20, 11)
    assert (table == 0).sum() == 20 - 10
    assert full[0] == 0
    assert torch.equal(table[full], torch.arange(11))
    assert (full.diff() > 0).all()


def test_tensors_depend_on_seed_and_part_and_key():
    sizes = replace(LEARNABLE.codec, blocks=1)
    one, same, other = (files.codec_state(sizes, seed) for seed in (1, 1, 2))
    for key in one:
        assert torch.equal(one[key], same[key])
        assert not torch.equal(one[key], other[key])
    assert not torch.equal(one["quant_conv.weight"], one["post_quant_conv.weight"])
