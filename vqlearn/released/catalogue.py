"""Every released VQ-Diffusion model: where its files are, its licence, and how it is best sampled.

    released("cub_pretrained").files[0].address

The table of `figures/released.md`, the command `vqlearn download` and model cards are made of it.
"""

from dataclasses import dataclass
from typing import NamedTuple

from vqlearn.probability import Sampling
from vqlearn.probability.checks import check_choice

RELEASE = "https://github.com/tzco/storage/releases/download/vqdiffusion"
"""Where Microsoft's download script takes the files from: a GitHub release."""
COMMIT = "d1d39487eaab07375d95b8ed59c6b3becf1329c6"
REPOSITORY = f"https://raw.githubusercontent.com/microsoft/VQ-Diffusion/{COMMIT}"
"""Where the files are that the official code reads besides; those of a commit never change."""
CODE = "https://github.com/microsoft/VQ-Diffusion"
TAMING = "https://github.com/CompVis/taming-transformers"
TEXT, CLASS, TOKENIZER = "text", "class", "tokenizer"

UNGUIDED = Sampling(1.0, 0.86)
GUIDED = Sampling(3.0, 1.0)
GUIDED_ITHQ = Sampling(5.0, 1.0)
GUIDED_CLASS = Sampling(1.5, 0.94)
"""Guidance and truncation of the official examples, `inference_VQ_Diffusion.py`."""

NOT_RELEASED = {
    "FFHQ": "only its tokenizer was released, vqgan_ffhq_f16_1024, not its denoiser",
    "CUB-S": "only its settings were published",
    "Oxford-102": "not in the release",
    "LAION-400M": "not in the release",
}
AZURE = "the Azure links of the original README are dead"


class RemoteFile(NamedTuple):
    """A file on a server, and the name that it gets on this machine."""

    address: str
    name: str


@dataclass(frozen=True)
class Released:
    """One released model. No list says how large a file is: its server does.

    - `name`: of its file, without `.pth`.
    - `kind`: "text", "class" or "tokenizer".
    - `trained_on`: the data set.
    - `num_parts`: 0: the file is whole, `NAME.pth`; else it was cut into `NAME_aa`, `NAME_ab`, ...
    - `null`: what stands for no condition; "": it takes none.
    - `sampling`: the recommended guidance and truncation; None: it generates nothing.
    - `used_codes`: how many codes of its tokenizer the denoiser knows; None: all of them.
    - `origin`: the address of the code that it was trained with.
    """

    name: str
    kind: str
    trained_on: str
    num_parts: int
    null: str = ""
    sampling: Sampling | None = None
    used_codes: int | None = None
    origin: str = CODE

    @property
    def files(self) -> tuple[RemoteFile, ...]:
        """The file, or all of its parts in order."""
        ends = [f"_a{chr(ord('a') + i)}" for i in range(self.num_parts)] or [".pth"]
        return tuple(RemoteFile(f"{RELEASE}/{self.name}{end}", self.name + end) for end in ends)

    @property
    def used_codes_file(self) -> RemoteFile | None:
        """The statistics that say which codes are used; None: all are."""
        if self.used_codes is None:
            return None
        name = f"taming_vqvae_{self.used_codes}.pt"
        return RemoteFile(f"{REPOSITORY}/help_folder/statistics/{name}", name)

    @property
    def tokenizer_file(self) -> RemoteFile | None:
        """CLIP's list of pieces of words, for captions; None: it takes none."""
        if self.kind != TEXT:
            return None
        name = "bpe_simple_vocab_16e6.txt.gz"
        return RemoteFile(f"{REPOSITORY}/image_synthesis/modeling/modules/clip/{name}", name)


EMPTY, LEARNED = "the empty caption", "learned"
RELEASED = (
    Released("ithq_learnable", TEXT, "ITHQ", 11, LEARNED, GUIDED_ITHQ),
    Released("cc_learnable", TEXT, "Conceptual Captions", 7, LEARNED, GUIDED, 2887),
    Released("CC_pretrained", TEXT, "Conceptual Captions", 7, EMPTY, UNGUIDED, 2887),
    Released("coco_learnable", TEXT, "MSCOCO", 7, LEARNED, GUIDED, 2887),
    Released("coco_pretrained", TEXT, "MSCOCO", 7, EMPTY, UNGUIDED, 2887),
    Released("cub_pretrained", TEXT, "CUB-200", 7, EMPTY, UNGUIDED, 2887),
    Released("human_pretrained", TEXT, "LAION-human", 7, EMPTY, UNGUIDED, 2887),
    Released("imagenet_learnable", CLASS, "ImageNet", 9, "class 1000", GUIDED_CLASS, 974),
    Released("imagenet_pretrained", CLASS, "ImageNet", 9, "the mean class", UNGUIDED, 974),
    Released("ithq_vqvae", TOKENIZER, "ITHQ", 0),
    Released("taming_f8_8192_openimages_last", TOKENIZER, "OpenImages", 0, origin=TAMING),
    Released("vqgan_imagenet_f16_16384", TOKENIZER, "ImageNet", 0, origin=TAMING),
    Released("vqgan_ffhq_f16_1024", TOKENIZER, "FFHQ", 10, origin=TAMING),
)


def released(name: str) -> Released:
    """The model of this name. Raises `ValueError` that names them all."""
    check_choice("the released model", name, [model.name for model in RELEASED])
    return next(model for model in RELEASED if model.name == name)
