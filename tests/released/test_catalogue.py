"""The list of released models says what Microsoft's download script fetches, and nothing else."""

import pytest

from vqlearn.released import RELEASED, released
from vqlearn.released.catalogue import NOT_RELEASED

LAST_FILES = """
cc_learnable_ag CC_pretrained_ag coco_learnable_ag coco_pretrained_ag cub_pretrained_ag
human_pretrained_ag imagenet_learnable_ai imagenet_pretrained_ai ithq_learnable_ak
vqgan_ffhq_f16_1024_aj ithq_vqvae.pth taming_f8_8192_openimages_last.pth
vqgan_imagenet_f16_16384.pth
"""  # of each model in vqdiffusion_download_checkpoints.sh, which fetches CLIP's own file as well
OF_COMMIT = (
    "https://raw.githubusercontent.com/microsoft/VQ-Diffusion/"
    "d1d39487eaab07375d95b8ed59c6b3becf1329c6"
)  # a branch may move or go


def test_the_models_are_those_of_the_official_script():
    assert sorted(model.files[-1].name for model in RELEASED) == sorted(LAST_FILES.split())


def test_addresses_and_names():
    files = released("cub_pretrained").files
    assert files[0].address == (
        "https://github.com/tzco/storage/releases/download/vqdiffusion/cub_pretrained_aa"
    )
    assert [file.name for file in files] == [f"cub_pretrained_a{end}" for end in "abcdefg"]
    assert [file.name for file in released("ithq_vqvae").files] == ["ithq_vqvae.pth"]


def test_the_statistics_of_used_codes_are_those_of_the_tokenizer():
    numbers = {model.name: model.used_codes for model in RELEASED if model.used_codes}
    assert numbers.pop("imagenet_learnable") == numbers.pop("imagenet_pretrained") == 974
    assert set(numbers.values()) == {2887}
    assert len(numbers) == 6
    assert released("imagenet_learnable").used_codes_file.address == (
        f"{OF_COMMIT}/help_folder/statistics/taming_vqvae_974.pt"
    )
    assert released("ithq_learnable").used_codes_file is None


def test_text_models_need_the_tokenizer_of_clip():
    files = {model.kind: model.tokenizer_file for model in RELEASED}
    assert [kind for kind, file in files.items() if file is not None] == ["text"]
    assert files["text"].address == (
        f"{OF_COMMIT}/image_synthesis/modeling/modules/clip/bpe_simple_vocab_16e6.txt.gz"
    )


@pytest.mark.parametrize("model", RELEASED, ids=lambda model: model.name)
def test_only_a_learned_null_is_guided(model):
    """Only `*_learnable` hold one; tokenizers take no condition."""
    has_null = model.name.endswith("_learnable")
    if model.kind == "tokenizer":
        assert (model.null, model.sampling) == ("", None)
    else:
        assert model.null
        assert model.sampling.is_guided == has_null
        assert (model.null in ("learned", "class 1000")) == has_null


def test_another_name_is_refused_with_all_that_there_are():
    with pytest.raises(ValueError, match=r"'ffhq'; allowed: .*'ithq_learnable'.*'ithq_vqvae'"):
        released("ffhq")
    assert {"FFHQ", "Oxford-102", "LAION-400M"} <= set(NOT_RELEASED)
