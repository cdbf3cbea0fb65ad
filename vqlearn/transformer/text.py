"""From a sentence to the states that the denoiser attends to.

    sentence -> clean text -> token ids (l of them) -> CLIP's text model -> l unit vectors

and the states of "no sentence at all", which guidance needs.
"""

import html
import json
import logging
import re
from dataclasses import dataclass

import ftfy
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float, Int
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

logger = logging.getLogger("vqlearn")

START, END, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"


def clean_caption(text: str) -> str:
    """Which plain text does CLIP read in this caption?

    The four steps of the original CLIP, in its order: repair wrongly decoded characters (ftfy,
    which also undoes HTML escapes in a text without "<"), undo HTML escapes twice ("&amp;#39;" is
    an apostrophe that was escaped twice), turn every run of white space into one space, lower-case.
    The tokenizer of transformers does the last two only, so we do all four here.
    Raises `TypeError` for anything but a string.
    Test: `test_captions_are_cleaned`.
    """
    if not isinstance(text, str):
        raise TypeError(f"a caption must be a string, not {type(text).__name__}")
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()


class TextEncoder(nn.Module):
    """Which vectors describe a sentence, position by position?

    Holds a tokenizer and a CLIP text model. Every position of the last layer (after CLIP's final
    norm) is scaled to unit length, padding included: the original attends to all of them, and no
    padding mask is passed. CLIP is causal, so padding cannot change the words before it.
    """

    def __init__(self, tokenizer: CLIPTokenizer, model: CLIPTextModel):
        super().__init__()
        self.tokenizer = tokenizer
        self.model = model
        self.frozen = False

    @property
    def length(self) -> int:
        """l, the number of positions: a tokenizer without a limit is cut at the model's."""
        limit = self.model.config.max_position_embeddings
        return min(self.tokenizer.model_max_length, limit)

    @property
    def width(self) -> int:
        """c, the number of channels of a text state."""
        return self.model.config.hidden_size

    def freeze(self) -> "TextEncoder":
        """Stop training for good: no gradients, and evaluation mode even if a parent trains.

        Test: `test_frozen_encoder_stays_frozen`.
        """
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> "TextEncoder":
        """Change to training mode, unless the encoder is frozen."""
        return super().train(mode and not self.frozen)

    def tokenize(self, captions: list[str]) -> Int[Tensor, "b l"]:
        """Token ids: start, the words, end, then padding up to `length`.

        A caption that is too long loses its last words but keeps its end token, and the words lost
        are logged as a warning of the logger "vqlearn". The empty caption is allowed. Text is only
        ever text: "<|endoftext|>" in a caption does not end it, and "!" is a word although released
        tokenizers pad with it. Raises `TypeError` if `captions` is one string, or holds something
        else than strings.
        Tests: `test_long_caption_keeps_its_end_token`, `test_ids_are_those_of_the_tokenizer`.
        """
        if isinstance(captions, str):
            raise TypeError("captions must be a list of strings, not one str")
        return torch.tensor([self._ids(clean_caption(caption)) for caption in captions])

    def _ids(self, caption: str) -> list[int]:
        words = self.tokenizer(
            caption, add_special_tokens=False, split_special_tokens=True, verbose=False
        ).input_ids
        room = self.length - 2
        if len(words) > room:
            lost = self.tokenizer.decode(words[room:])
            logger.warning("a caption has more than %d tokens; this is lost: %r", room, lost)
        ids = [self.tokenizer.bos_token_id, *words[:room], self.tokenizer.eos_token_id]
        return ids + [self.tokenizer.pad_token_id] * (self.length - len(ids))

    def forward(self, captions: list[str]) -> Float[Tensor, "b l c"]:
        r"""The text states $h_i / \lVert h_i \rVert_2$, one per position.

        Lengths are computed in float32 at least, because a sum of squares overflows in float16;
        the result has the model's type. Raises as `tokenize` does.
        Test: `test_states_are_the_models_own_scaled_to_unit_length`.
        """
        ids = self.tokenize(captions).to(self.model.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states = self.model(ids).last_hidden_state  # (b, l) -> (b, l, c)
            wide = states.to(torch.promote_types(states.dtype, torch.float32))
            return F.normalize(wide, dim=-1).to(states.dtype)


@dataclass(frozen=True)
class NullTextConfig:
    """Are the states of "no sentence" learned? The names are the keys of the checkpoints' config.

    A learned table has `length` rows of `hidden_size` numbers; without one both may be None. Raises
    `ValueError` for a learned table of no size.
    """

    learnable: bool
    hidden_size: int | None = None
    length: int | None = None

    def __post_init__(self):
        if self.learnable and min(self.hidden_size or 0, self.length or 0) < 1:
            raise ValueError(
                f"a learned null text needs hidden_size >= 1 and length >= 1, not "
                f"{self.hidden_size} and {self.length}"
            )


class NullText(nn.Module):
    r"""What does the denoiser attend to when there is no sentence?

    Improved VQ-Diffusion (Tang et al., 2022) learns these states together with the denoiser. They
    are used as they are: unlike text states they are *not* scaled to unit length, they only start
    with unit length on average. A checkpoint that does not learn them stores an empty tensor;
    `null_states` serves both kinds. Test: `test_null_text_is_not_normalised`.
    """

    def __init__(self, config: NullTextConfig):
        super().__init__()
        self.config = config
        if config.learnable:
            start = torch.randn(config.length, config.hidden_size) * config.hidden_size**-0.5
        else:
            start = torch.empty(0)
        self.embeddings = nn.Parameter(start)

    def forward(self, count: int) -> Float[Tensor, "count l c"]:
        """The same learned states `count` times. Raises `ValueError` if there are none."""
        if not self.config.learnable:
            raise ValueError("this null text is not learned; `null_states` encodes '' instead")
        return repeat(self.embeddings, "l c -> count l c", count=count)


def null_states(null: NullText, encoder: TextEncoder, count: int) -> Float[Tensor, "count l c"]:
    """Which states stand for "no sentence" in this checkpoint, learned or not?

    The learned ones, or else the states of the empty caption, encoded once.
    Test: `test_null_states_without_a_learned_table_encode_the_empty_caption`.
    """
    if null.config.learnable:
        return null(count)
    return repeat(encoder([""]), "1 l c -> count l c", count=count)


def drop_captions(
    text: Float[Tensor, "b l c"],
    null: Float[Tensor, "b l c"],
    rate: float,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "b l c"]:
    """How does one network learn to work with and without a sentence?

    In training, each caption of a batch is replaced as a whole by `null` with probability `rate`,
    independently of the others. The draw is made on the generator's device (the CPU without one).
    Raises `ValueError` for a rate outside 0..1.
    Test: `test_captions_are_dropped_whole_at_the_rate`.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; it is a probability, 0 to 1")
    device = generator.device if generator else "cpu"
    dropped = torch.rand(len(text), generator=generator, device=device) < rate
    dropped = rearrange(dropped, "b -> b 1 1").to(text.device)
    return torch.where(dropped, null.to(text.dtype), text)


def build_tokenizer(captions: list[str], *, vocab_size: int, max_length: int) -> CLIPTokenizer:
    """Which pieces of words should a small CLIP know, for captions like these?

    Byte-pair encoding: start from the 256 bytes and their end-of-word forms, then again and again
    merge the pair of neighbours seen most often. All bytes are known, so any text can be encoded,
    emoji included. Ids: bytes, bytes that end a word, merged pieces, start, end; padding is done
    with the end token. The vocabulary is smaller than `vocab_size` when the captions offer no more
    pairs. Raises `ValueError` if `vocab_size` has no room for bytes, start and end (514).
    Tests: `test_tokenizer_survives_saving`, `test_every_byte_can_be_encoded`.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = letters + [letter + END_OF_WORD for letter in letters]
    if vocab_size < len(base) + 2:
        raise ValueError(f"vocab_size is {vocab_size}; it must be at least {len(base) + 2}")
    if max_length < 3:
        raise ValueError(f"max_length is {max_length}; start, one word and end need 3")
    merges = _learn_merges(captions, vocab_size)[: vocab_size - len(base) - 2]
    pieces = dict.fromkeys([*base, *("".join(pair) for pair in merges), START, END])
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_length)


def _learn_merges(captions: list[str], vocab_size: int) -> list[tuple[str, str]]:
    clip = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    learner.normalizer = clip.normalizer
    learner.pre_tokenizer = clip.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, end_of_word_suffix=END_OF_WORD, show_progress=False
    )
    learner.train_from_iterator(map(clean_caption, captions), trainer)
    return [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]


def build_text_model(
    tokenizer: CLIPTokenizer, *, width: int, layers: int, heads: int
) -> CLIPTextModel:
    """A small CLIP text model with fresh weights that fits this tokenizer.

    Vocabulary, number of positions and the ids of start, end and padding are the tokenizer's.
    Test: `test_small_text_model_fits_its_tokenizer`.
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()
