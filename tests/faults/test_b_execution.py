"""Nothing in a file is executed, and no program is started for it."""

import json
import socket
import sys

import pytest
import torch
from faults import fuzz_checkpoints
from PIL import Image
from support.tiny import edit_json

from vqlearn import CheckpointError, VQDiffusionPipeline
from vqlearn.data import ImageFolder

# B1 ------------------------------------------------------------------------------

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
