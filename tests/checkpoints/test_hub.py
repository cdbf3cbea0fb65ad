"""Downloads, from a hub on this machine that speaks the hub's own protocol."""

import logging
import shutil

import huggingface_hub
import pytest
import torch
from support.released_hub import DIFFUSERS, NAME, NULL_TEXT
from support.tiny import edit_json

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.checkpoints.hub import HubOptions, download, is_repository, needed_files


def test_the_published_snippet_runs(hub):
    pipe = VQDiffusionPipeline.from_pretrained(NAME, torch_dtype=torch.float16)
    image = pipe("A teddy bear playing in the pool.", num_inference_steps=2).images[0]
    assert image.size == (8, 8)
    assert pipe.dtype == torch.float16


def load(**options):
    return VQDiffusionPipeline.from_pretrained(NAME, **options)


def test_only_what_is_read_is_fetched_and_only_once(hub):
    load()
    assert "README.md" not in hub.files_asked()
    weights = {name for name in hub.files_asked() if name.endswith((".bin", ".safetensors"))}
    parts = {f"{part}/{DIFFUSERS}.bin" for part in ("vqvae", "transformer", NULL_TEXT)}
    assert weights == {"text_encoder/pytorch_model.bin", *parts}
    hub.asked.clear()
    load()
    assert hub.files_asked() == set()


def test_a_variant_is_fetched_instead_of_the_plain_weights(hub):
    pipe = load(variant="fp16")
    fetched = {name for name in hub.files_asked() if name.endswith((".bin", ".safetensors"))}
    assert len(fetched) == 4
    assert all(name.endswith(".fp16.safetensors") for name in fetched)
    kinds = {weight.dtype for part in (pipe.denoiser, pipe.vqvae) for weight in part.parameters()}
    assert kinds == {pipe.text_encoder.model.dtype} == {torch.float16}


def test_the_branch_without_no_sentence_takes_that_of_main_and_says_so(hub, caplog):
    with caplog.at_level(logging.WARNING, "vqlearn"):
        pipe = load(revision="fp16")
    assert "that of the main branch is used" in caplog.text
    assert torch.equal(pipe.null_text.embeddings, load().null_text.embeddings)
    del hub.repositories[NAME]["main"]


@pytest.mark.parametrize("is_named", [False, True])
def test_where_main_has_none_either_it_depends_on_the_index(hub, caplog, is_named):
    """The empty caption is used and a warning says so; but what the index names must be there."""
    shutil.rmtree(hub.repositories[NAME]["main"] / NULL_TEXT)
    if is_named:
        with pytest.raises(CheckpointError, match=r"but model_index\.json names it"):
            load(revision="fp16")
        return
    edit_json(hub.repositories[NAME]["fp16"] / "model_index.json", **{NULL_TEXT: ...})
    with caplog.at_level(logging.WARNING, "vqlearn"):
        pipe = load(revision="fp16")
    assert "the empty caption stands for no caption" in caplog.text
    assert not pipe.null_text.config.learnable


@pytest.mark.parametrize("how", ["option", "variable", "no network"])
def test_a_downloaded_checkpoint_needs_no_network(hub, monkeypatch, how):
    for revision in (None, "fp16"):
        load(revision=revision)
    hub.asked.clear()
    if how == "variable":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    if how == "no network":
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    for revision in (None, "fp16"):
        pipe = load(revision=revision, local_files_only=how == "option")
        assert pipe.null_text.config.learnable
    assert hub.asked == []


@pytest.mark.parametrize("how", ["option", "variable", "no network"])
def test_without_network_and_files_one_sentence_names_the_command(hub, monkeypatch, how):
    if how == "variable":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    if how == "no network":
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    wanted = "run: vqlearn download microsoft/vq-diffusion-ithq --revision fp16 --variant fp16$"
    with pytest.raises(CheckpointError, match=wanted):
        load(revision="fp16", variant="fp16", local_files_only=how == "option")


def test_files_go_where_they_are_told_to(hub, tmp_path):
    folder = download(NAME, HubOptions(cache_dir=tmp_path / "elsewhere"))
    assert folder.is_relative_to(tmp_path / "elsewhere")
    assert not (tmp_path / "cache").exists()


def test_unknown_names_are_named(hub):
    with pytest.raises(CheckpointError, match="has no revision 'fp32'"):
        load(revision="fp32")
    with pytest.raises(CheckpointError, match="no folder 'some/body', and no repository"):
        VQDiffusionPipeline.from_pretrained("some/body")


@pytest.mark.parametrize("name", ["a/b/c", "../b", "a", "a b/c", "/a/b", "a/..", "./b"])
def test_what_looks_like_a_path_never_goes_to_the_hub(name):
    assert not is_repository(name)


def test_which_files_are_needed():
    names = ["model_index.json", "vqvae/config.json", "vqvae/flax.msgpack", "other/model.bin"]
    assert needed_files(names, None) == ["model_index.json", "vqvae/config.json"]
    stems = [f"vqvae/{DIFFUSERS}{end}" for end in (".bin", ".safetensors", ".fp16.bin")]
    assert needed_files(stems, None) == [stems[1]]
    assert needed_files(stems, "fp16") == [stems[2]]
    assert needed_files(stems[:2], "fp16") == [stems[1]]
