"""From a caption to the states that the denoiser attends to.

caption -> clean text -> token ids (l of them) -> CLIP's text model -> l unit vectors
"""

import logging

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from vqlearn.probability import at_least_float32
from vqlearn.probability.checks import shown
from vqlearn.text.tokenizer import clean_caption

logger = logging.getLogger("vqlearn")


class TextEncoder(nn.Module):
    """One vector for each position of a caption: a tokenizer and a CLIP text model.

    Every position of the last layer (after CLIP's final norm) is scaled to unit length, padding
    included: the original attends to all of them, and no padding mask is passed. CLIP is causal, so
    padding cannot change the words before it.
    """

    def __init__(self, tokenizer: CLIPTokenizer, model: CLIPTextModel):
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model

    @property
    def length(self) -> int:
        """l, the number of positions: a tokenizer without a limit is cut at the model's."""
        limit = self.model.config.max_position_embeddings
        return min(self.tokenizer.model_max_length, limit)

    @property
    def width(self) -> int:
        """c, the number of channels of a text state."""
        return self.model.config.hidden_size

    def tokenize(self, captions: list[str], *, warn: bool = True) -> Int[Tensor, "b l"]:
        """Token ids: start, the words, end, then padding up to `length`.

        A caption that is too long is cut but keeps its end token; this is logged as `warn_if_cut`
        does, unless `warn` is False. The empty caption is allowed. Text is only ever text:
        "<|endoftext|>" in a caption does not end it, and "!" is a word although released tokenizers
        pad with it. Raises `TypeError` if `captions` is one string, or holds something else than
        strings.
        """
        words = self._words(captions)
        if warn:
            self._warn_if_cut(words)
        return torch.tensor([self._ids(each) for each in words])

    def warn_if_cut(self, captions: list[str]) -> None:
        """One warning of the logger "vqlearn": how many captions lose words, and which.

        A training calls it once with all of its captions, and then reads them without warnings.
        Raises as `tokenize` does.
        """
        self._warn_if_cut(self._words(captions))

    @property
    def _room(self) -> int:
        return self.length - 2  # without start and end

    def _words(self, captions: list[str]) -> list[list[int]]:
        if isinstance(captions, str):
            raise TypeError(f"captions is {shown(captions)}; allowed: a list of strings")
        options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        return [self.tokenizer(clean_caption(each), **options).input_ids for each in captions]

    def _warn_if_cut(self, captions: list[list[int]]) -> None:
        cut = [words for words in captions if len(words) > self._room]
        if cut:
            logger.warning(
                "%d of %d captions lose words: they have more than %d tokens, the longest %d; "
                "of the first this is cut off: %s",
                *(len(cut), len(captions), self._room, max(map(len, cut))),
                shown(self.tokenizer.decode(cut[0][self._room :])),
            )

    def _ids(self, words: list[int]) -> list[int]:
        ids = [self.tokenizer.bos_token_id, *words[: self._room], self.tokenizer.eos_token_id]
        return ids + [self.tokenizer.pad_token_id] * (self.length - len(ids))

    def forward(self, captions: list[str], *, warn: bool = True) -> Float[Tensor, "b l c"]:
        r"""The text states $h_i / \lVert h_i \rVert_2$, one per position.

        Lengths are computed in float32 at least, because a sum of squares overflows in float16;
        the result has the model's type. Warns and raises as `tokenize` does.
        """
        ids = self.tokenize(captions, warn=warn).to(self.model.device)
        states = self.model(ids).last_hidden_state  # (b, l) -> (b, l, c)
        return F.normalize(at_least_float32(states), dim=-1).to(states.dtype)
