"""The pipeline's call and loader are those of diffusers."""

import pytest

from vqlearn.checkpoints import HubOptions
from vqlearn.checkpoints.hub import needed_files

# F1 ------------------------------------------------------------------------------


def test_the_kind_of_file_can_be_chosen():
    both = [f"vqvae/diffusion_pytorch_model{suffix}" for suffix in (".bin", ".safetensors")]
    assert needed_files(both, None) == needed_files(both, None, True) == both[1:]
    assert needed_files(both, None, False) == both[:1]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"revision": 3}, TypeError),
        ({"variant": b"fp16"}, TypeError),
        ({"local_files_only": "yes"}, TypeError),
        ({"force_download": 1}, TypeError),
        ({"use_safetensors": "true"}, TypeError),
        ({"cache_dir": 5}, TypeError),
        ({"cache_dir": ""}, ValueError),
        ({"force_download": True, "local_files_only": True}, ValueError),
    ],
)
def test_options_of_the_hub_are_refused_by_name(options, error):
    with pytest.raises(error, match=f"{next(iter(options))} is .*; allowed"):
        HubOptions(**options)


def test_a_token_is_never_shown():
    assert "secret" not in repr(HubOptions(token="secret"))
    with pytest.raises(TypeError, match="token is a bytes; allowed: str, bool, None"):
        HubOptions(token=b"secret")
