"""A hub on this machine with a small checkpoint in the layout of the released model."""

import shutil
from contextlib import contextmanager

import huggingface_hub
import torch
from safetensors.torch import load_file, save_file
from support.hub_server import serving
from support.tiny import write_diffusers_folder

NAME = "microsoft/vq-diffusion-ithq"
NULL_TEXT = "learned_classifier_free_sampling_embeddings"
DIFFUSERS, TRANSFORMERS = "diffusion_pytorch_model", "model"


def as_released(folder):
    """The main branch of the released model: pickles, and half precision in both kinds."""
    for part in ("vqvae", "transformer", NULL_TEXT, "text_encoder"):
        stem = TRANSFORMERS if part == "text_encoder" else DIFFUSERS
        old = "pytorch_model" if part == "text_encoder" else DIFFUSERS
        weights = load_file(folder / part / f"{stem}.safetensors")
        half = {name: weight.half() for name, weight in weights.items()}
        torch.save(weights, folder / part / f"{old}.bin")
        torch.save(half, folder / part / f"{old}.fp16.bin")
        save_file(half, folder / part / f"{stem}.fp16.safetensors", metadata={"format": "pt"})
        (folder / part / f"{stem}.safetensors").unlink()
    return folder


@contextmanager
def released(tmp_path, monkeypatch):
    """The branches main and fp16, as they are on the hub."""
    main = as_released(write_diffusers_folder(tmp_path / "main", levels=100))
    (main / "README.md").write_text("a card")
    (main / "a picture.png").write_bytes(b"not needed")
    fp16 = write_diffusers_folder(tmp_path / "fp16", levels=100)
    shutil.rmtree(fp16 / NULL_TEXT)
    with serving() as hub:
        hub.repositories[NAME] = {"main": main, "fp16": fp16}
        template = f"{hub.base}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.base)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub
