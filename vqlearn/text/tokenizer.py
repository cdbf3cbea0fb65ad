"""From a caption to token ids: cleaning, and a small tokenizer of one's own."""

import html
import json
import re

import ftfy
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from vqlearn.probability.checks import check_integer

START, END, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"


def clean_caption(text: str) -> str:
    """The plain text that CLIP reads in this caption.

    The four steps of the original CLIP, in its order: repair wrongly decoded characters (ftfy,
    which also undoes HTML escapes in a text without "<"), undo HTML escapes twice ("&amp;#39;" is
    an apostrophe that was escaped twice), turn every run of white space into one space, lower-case.
    The tokenizer of transformers does the last two only, so we do all four here.
    Raises `TypeError` for anything but a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a caption is {text!r}; allowed: a string")
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip().lower()


def build_tokenizer(captions: list[str], *, vocab_size: int, max_length: int) -> CLIPTokenizer:
    """A tokenizer for a small CLIP, learnt from captions like these.

    Byte-pair encoding: start from the 256 bytes and their end-of-word forms, then again and again
    merge the pair of neighbours seen most often. All bytes are known, so any text can be encoded,
    emoji included. Ids: bytes, bytes that end a word, merged pieces, start, end; padding is done
    with the end token. The vocabulary is smaller than `vocab_size` when the captions offer no more
    pairs. The same captions give the same tokenizer. Raises `ValueError` if `vocab_size` has no
    room for bytes, start and end (514).
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = letters + [letter + END_OF_WORD for letter in letters]
    check_integer("vocab_size", vocab_size, len(base) + 2)
    check_integer("max_length", max_length, 3)  # start, word, end
    merges = _learn_merges(captions, base, vocab_size)[: vocab_size - len(base) - 2]
    pieces = dict.fromkeys([*base, *("".join(pair) for pair in merges), START, END])
    vocab = {piece: number for number, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_length)


def _learn_merges(captions: list[str], base: list[str], size: int) -> list[tuple[str, str]]:
    clip = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    learner.normalizer = clip.normalizer
    learner.pre_tokenizer = clip.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=base,  # of two pairs seen as often, ids decide; other letters get any
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    learner.train_from_iterator(map(clean_caption, captions), trainer)
    return [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
