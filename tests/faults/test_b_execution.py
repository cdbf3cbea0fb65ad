"""Nothing in a file is executed, and no program is started for it."""

import json
import os
import pickle
import re
import socket
import sys
from hashlib import sha256

import pytest
import torch
from faults import fuzz_checkpoints
from PIL import Image
from safetensors.torch import load_file
from support.tiny import edit_json
from support.training import short_task, stopped_training

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.data import ImageFolder
from vqlearn.training import fit

# B1 ------------------------------------------------------------------------------


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_state_of_an_older_version_is_never_opened(tmp_path):
    folder = tmp_path / ".training" / "short" / "2"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    names = ("custom_checkpoint_0.pkl", "random_states_0.pkl", "optimizer.bin", "scheduler.bin")
    for name in (*names, "model.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Touch(tmp_path / "executed")))
    with pytest.raises(CheckpointError, match=r"an older version of vqlearn.*to begin .*delete"):
        fit("short", short_task(tmp_path))
    assert not (tmp_path / "executed").exists()
    pickle.loads((folder / names[0]).read_bytes())
    assert (tmp_path / "executed").exists()  # the trap works


def test_pickles_in_a_state_are_left_alone(tmp_path):
    (folder,) = stopped_training(tmp_path).glob("*")
    for name in ("optimizer.bin", "state.pt", "state", "state.json.bin"):
        (folder / name).write_bytes(pickle.dumps(Touch(tmp_path / "executed")))
    fit("short", short_task(tmp_path))
    assert not (tmp_path / "executed").exists()


def test_a_run_folder_holds_nothing_that_could_be_executed(tmp_path):
    """Tensors and JSON, and the JSON holds numbers and names only."""
    (folder,) = stopped_training(tmp_path).glob("*")
    assert {file.name for file in folder.iterdir()} == {
        *("state.safetensors", "state.json", "digests.json")
    }
    assert load_file(folder / "state.safetensors").keys() > {"average.n_averaged"}
    json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"config": 3}', '{"config": {}}', "nul"])
def test_whatever_a_state_holds_the_refusal_is_one_sentence(tmp_path, text):
    """Even where the digests fit."""
    (folder,) = stopped_training(tmp_path).glob("*")
    (folder / "state.json").write_text(text)
    digests = json.loads((folder / "digests.json").read_text())
    digests["state.json"] = sha256(text.encode()).hexdigest()
    (folder / "digests.json").write_text(json.dumps(digests))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))) as caught:
        fit("short", short_task(tmp_path))
    assert len(str(caught.value)) <= 400 or "is not allowed" in str(caught.value)


# B2 ------------------------------------------------------------------------------


FOREIGN = {
    "attn_implementation": "kernels-community/x",
    "_attn_implementation": "kernels-community/x",
    "experts_implementation": "kernels-community/x",
    "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model", "AutoTokenizer": "a--b.c"},
    "trust_remote_code": True,
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "use_kernels": True,
    "architectures": ["os.system"],
    "model_type": "llama",
    "tokenizer_class": "os.system",
    "dtype": "bfloat16",
    "tokenizer_file": "/etc/hostname",
    "vocab_file": "/etc/hostname",
    "backend": "sentencepiece",
    "transformers_weights": "../../elsewhere.bin",
    "chat_template": "{{ 1 / 0 }}",
}
"""Entries by which a config could make transformers fetch, import or run something."""


@pytest.mark.parametrize(
    "name", ["text_encoder/config.json", "tokenizer/tokenizer_config.json", "vqvae/config.json"]
)
def test_a_config_chooses_no_implementation(checkpoint, monkeypatch, name):
    def no_network(*arguments):
        raise AssertionError("a connection")

    before = VQDiffusionPipeline.from_pretrained(checkpoint)
    (checkpoint / name).with_name("code.py").write_text("raise SystemExit")
    edit_json(checkpoint / name, **FOREIGN)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    modules = set(sys.modules)
    after = VQDiffusionPipeline.from_pretrained(checkpoint)
    assert set(sys.modules) == modules
    config = after.text_encoder.model.config
    assert config._attn_implementation == "sdpa"
    assert getattr(config, "quantization_config", None) is None
    with torch.no_grad():
        states = [pipe.text_encoder(["a red circle"]) for pipe in (before, after)]
    assert torch.equal(*states)


# B3 ------------------------------------------------------------------------------

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n%%EOF\n"
WMF = b"\xd7\xcd\xc6\x9a\0\0" + bytes(20)


@pytest.mark.parametrize("content", [EPS, PDF, WMF], ids=["eps", "pdf", "wmf"])
@pytest.mark.parametrize("name", ["cat.jpg", "cat.eps", "cat"])
def test_no_program_is_started_for_an_image(tmp_path, caplog, name, content):
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / name).write_bytes(content)
    lines = [json.dumps({"file_name": each, "text": each}) for each in (name, "good.png")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    started = []
    sys.addaudithook(lambda event, _: started.append(event) if event in PROGRAMS else None)
    assert ImageFolder(tmp_path, 8).captions() == ["good.png"]
    assert not started
    assert f"line 1 is left out: file_name is '{name}'; it is no image" in caplog.messages[0]


PROGRAMS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}

# B4 ------------------------------------------------------------------------------


def test_no_bomb_goes_off_and_no_message_advises_to_light_it(checkpoint, tmp_path):
    marker = tmp_path / "gone off"
    bombs = fuzz_checkpoints.bombs(marker)
    next((checkpoint / "vqvae").glob("*.safetensors")).unlink()
    file = checkpoint / "vqvae" / "diffusion_pytorch_model.bin"
    assert len(bombs) > 25
    for name, content in bombs.items():
        file.write_bytes(content)
        with pytest.raises(CheckpointError, match=file.name) as caught:
            VQDiffusionPipeline.from_pretrained(checkpoint)
        message = str(caught.value)
        assert not marker.exists(), name
        assert "weights_only" not in message
        assert "\x1b" not in message
        assert len(message) <= 400


def test_a_refused_pickle_is_told_what_it_asked_for(checkpoint, tmp_path):
    bombs = fuzz_checkpoints.bombs(tmp_path / "gone off")
    next((checkpoint / "vqvae").glob("*.safetensors")).unlink()
    file = checkpoint / "vqvae" / "diffusion_pytorch_model.bin"
    file.write_bytes(bombs["os.system in an archive"])
    with pytest.raises(CheckpointError, match=r"asks for 'posix\.system', which is never executed"):
        VQDiffusionPipeline.from_pretrained(checkpoint)
