"""From a caption to text states: cleaning, token ids, unit vectors, and the null text."""

import importlib.util
import json
import logging

import pytest
import torch
from transformers import CLIPTokenizer

from vqlearn.text import encoder as text_module
from vqlearn.text.clip import build_text_model
from vqlearn.text.encoder import TextEncoder
from vqlearn.text.null_text import NullText, NullTextConfig, drop_captions, null_states
from vqlearn.text.tokenizer import build_tokenizer, clean_caption

CAPTIONS = [
    "a small red circle above a large blue square",
    "a large green star left of a small red circle",
    "a blue square, isn't it?",
]
LENGTH, WIDTH = 16, 32
TRICKY = ["", "a small red circle", "!", "it's 3 cats!!", "😀 naïve 漢字", "one\ttwo\n three"]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(CAPTIONS, vocab_size=580, max_length=LENGTH)


@pytest.fixture
def encoder(tokenizer):
    torch.manual_seed(0)
    return TextEncoder(tokenizer, build_text_model(tokenizer, width=WIDTH, layers=2, heads=4))


def without_runtime_types():
    """The same file, loaded as a user has it: tests/conftest.py checks the package only."""
    spec = importlib.util.spec_from_file_location("plain_text", text_module.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("it&amp;#39;s", "it's"),
        ("fish &amp; chips", "fish & chips"),
        ("a < b &amp;amp;amp; c", "a < b &amp; c"),  # three times escaped: two are undone
        ("&amp;amp;amp;", "&"),  # without "<" ftfy undoes one more
        ("schÃ¶n", "schön"),
        ("âœ” No problems", "✔ no problems"),
        ("  two  spaces\tand\n\nlines ", "two spaces and lines"),
        ("wide&nbsp;space", "wide space"),
        ("A Red CIRCLE", "a red circle"),
        ("", ""),
        ("   ", ""),
        ("😀", "😀"),
    ],
)
def test_captions_are_cleaned(raw, clean):
    assert clean_caption(raw) == clean


@pytest.mark.parametrize("value", [3, None, b"bytes", ["list"]])
def test_only_strings_are_captions(value):
    with pytest.raises(TypeError, match=r"a caption is .*; allowed: a string"):
        without_runtime_types().clean_caption(value)


def test_one_string_is_not_a_list_of_captions(encoder):
    plain = without_runtime_types().TextEncoder(encoder.tokenizer, encoder.model)
    with pytest.raises(TypeError, match=r"captions is .*; allowed: a list of strings"):
        plain("a red circle")
    with pytest.raises(TypeError, match="a caption is 3"):
        plain(["a red circle", 3])


def test_ids_are_those_of_the_tokenizer(encoder):
    ours = encoder.tokenize(TRICKY)
    theirs = encoder.tokenizer(
        TRICKY, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
    ).input_ids
    assert ours.tolist() == theirs.tolist()
    assert ours.shape == (len(TRICKY), LENGTH)


def test_empty_caption_is_start_end_and_padding(encoder):
    start, end, pad = (
        encoder.tokenizer.bos_token_id,
        encoder.tokenizer.eos_token_id,
        encoder.tokenizer.pad_token_id,
    )
    assert encoder.tokenize([""]).tolist() == [[start, end] + [pad] * (LENGTH - 2)]


def test_long_caption_keeps_its_end_token(encoder, caplog):
    words = "red circle " * 250  # 500 words, one token each
    with caplog.at_level(logging.WARNING, logger="vqlearn"):
        ids = encoder.tokenize(["a red circle", words])
    assert ids.shape == (2, LENGTH)
    assert ids[1, -1] == encoder.tokenizer.eos_token_id
    assert encoder.tokenizer.eos_token_id not in ids[1, :-1]
    assert encoder.tokenizer.decode(ids[1, 1:-1]) == ("red circle " * 7).strip()
    (message,) = caplog.messages
    assert message.startswith(
        "1 of 2 captions lose words: they have more than 14 tokens, the longest 500; "
        "of the first this is cut off: 'red circle red"
    )
    assert len(message) < 250


def test_a_caption_that_just_fits_is_not_cut(encoder, caplog):
    ids = encoder.tokenize(["red circle " * 7])
    assert ids[0, -1] == encoder.tokenizer.eos_token_id
    assert not caplog.records


def test_tokenizer_without_a_limit_uses_the_models(encoder, tmp_path):
    encoder.tokenizer.save_pretrained(tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    content.pop("model_max_length")
    settings.write_text(json.dumps(content))
    endless = CLIPTokenizer.from_pretrained(tmp_path)
    assert endless.model_max_length > 10**9
    assert TextEncoder(endless, encoder.model).tokenize(["red"]).shape == (1, LENGTH)


def test_states_are_the_models_own_scaled_to_unit_length(encoder):
    """Within 1e-6 in float32; no padding mask is passed."""
    states = encoder(TRICKY)
    assert states.shape == (len(TRICKY), LENGTH, WIDTH)
    torch.testing.assert_close(states.norm(dim=-1), torch.ones(len(TRICKY), LENGTH))
    own = encoder.model(encoder.tokenize(TRICKY)).last_hidden_state
    torch.testing.assert_close(states, own / own.norm(dim=-1, keepdim=True), rtol=1e-6, atol=1e-6)


def test_batch_of_captions_equals_one_by_one(encoder):
    """Within 1e-5 in float32."""
    together = encoder(TRICKY)
    for i, caption in enumerate(TRICKY):
        torch.testing.assert_close(together[i : i + 1], encoder([caption]), rtol=0, atol=1e-5)


def test_words_after_do_not_change_words_before(encoder):
    """CLIP is causal: start and "red" have the same states in both captions (within 1e-5)."""
    short, long = encoder(["red", "red circle above a square"])
    torch.testing.assert_close(short[:2], long[:2], rtol=0, atol=1e-5)
    assert (short[2:] - long[2:]).abs().max() > 1e-2


def test_unit_length_is_safe_in_float16(encoder):
    """States of size 300 have squares above float16's 65504. Unit length within 2e-3."""
    with torch.no_grad():
        encoder.model.final_layer_norm.weight.fill_(300)
    states = encoder.half()(TRICKY)
    assert states.dtype == torch.float16
    lengths = states.float().norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), rtol=0, atol=2e-3)


def test_gradient_reaches_every_weight_of_the_encoder(encoder):
    (encoder(["red circle"]) * torch.arange(WIDTH)).sum().backward()
    for name, parameter in encoder.named_parameters():
        if not name.endswith("k_proj.bias"):  # softmax ignores the bias of the keys
            assert parameter.grad.abs().max() > 0, name


def test_tokenizer_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    texts = [*TRICKY, *CAPTIONS, "red " * 100]
    for one in (tokenizer, loaded):
        assert one.model_max_length == LENGTH
    for options in ({}, {"padding": "max_length", "truncation": True, "max_length": LENGTH}):
        first, second = (one(texts, **options).input_ids for one in (tokenizer, loaded))
        assert first == second
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )


@pytest.fixture
def released(tokenizer, encoder, tmp_path):
    """The same vocabulary in the released layout: vocab.json, merges.txt and the pad token "!"."""
    (tmp_path / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()))
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(merges) + "\n")
    settings = {"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": LENGTH}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return TextEncoder(CLIPTokenizer.from_pretrained(tmp_path), encoder.model)


def test_tokenizer_of_the_released_layout_gives_the_same_ids(tokenizer, encoder, released):
    captions = [*CAPTIONS, "red " * 100, "a red circle!"]
    ids, expected = released.tokenize(captions), encoder.tokenize(captions)
    is_padding = (expected == tokenizer.eos_token_id).cumsum(dim=1) > 1
    assert is_padding.any()
    assert (ids[is_padding] == tokenizer.get_vocab()["!"]).all()
    assert (ids[~is_padding] == expected[~is_padding]).all()


def test_an_exclamation_mark_is_a_word_even_where_it_pads(tokenizer, released):
    """The original CLIP reads "!</w>"; transformers by itself would read the padding "!"."""
    ids = released.tokenize(["red!"])[0]
    assert ids[2] == tokenizer.get_vocab()["!</w>"]
    assert released.tokenizer("red!").input_ids[2] == tokenizer.get_vocab()["!"]


def test_a_caption_cannot_end_itself(encoder):
    ids = encoder.tokenize(["red<|endoftext|>red"])[0].tolist()
    assert ids.index(encoder.tokenizer.eos_token_id) == LENGTH - 1


def test_words_of_the_captions_become_few_tokens(tokenizer):
    assert tokenizer.tokenize("a small red circle") == [
        "a</w>",
        "small</w>",
        "red</w>",
        "circle</w>",
    ]


def test_every_byte_can_be_encoded(tokenizer):
    """All 256 bytes and their end-of-word forms are in the vocabulary, and text comes back."""
    for text in ["😀", "漢字", "ñ", "zzz qqq", "\u0001", "żółw"]:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
    pieces = {piece for piece in tokenizer.get_vocab() if len(piece.removesuffix("</w>")) == 1}
    assert len(pieces) == 512


def test_vocabulary_has_the_size_asked_for(tokenizer):
    assert len(build_tokenizer(CAPTIONS, vocab_size=530, max_length=8)) == 530
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert len(build_tokenizer(CAPTIONS, vocab_size=514, max_length=8)) == 514


def test_the_same_captions_give_the_same_tokenizer():
    """Few captions have many pairs that are seen equally often."""
    captions = ["a red moon left of a big star", "the sun", "small cats", "it rains on the sea"]
    made = [build_tokenizer(captions, vocab_size=600, max_length=8).get_vocab() for _ in range(5)]
    assert all(each == made[0] for each in made)


def test_impossible_tokenizers_raise():
    with pytest.raises(ValueError, match="vocab_size is 513; allowed: 514 or more"):
        build_tokenizer(CAPTIONS, vocab_size=513, max_length=8)
    with pytest.raises(ValueError, match="max_length is 2"):
        build_tokenizer(CAPTIONS, vocab_size=600, max_length=2)


def test_small_text_model_fits_its_tokenizer(encoder):
    config, tokenizer = encoder.model.config, encoder.tokenizer
    assert config.vocab_size == len(tokenizer)
    assert config.max_position_embeddings == tokenizer.model_max_length == encoder.length
    assert config.hidden_size == encoder.width == WIDTH
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )
    pooled = encoder.model(encoder.tokenize(["red"]))
    torch.testing.assert_close(pooled.pooler_output, pooled.last_hidden_state[:, 2])


def test_null_text_is_not_normalised():
    torch.manual_seed(0)
    null = NullText(NullTextConfig(learnable=True, hidden_size=WIDTH, length=LENGTH))
    with torch.no_grad():
        null.embeddings.mul_(7)
    states = null(3)
    assert states.shape == (3, LENGTH, WIDTH)
    for row in states:
        assert torch.equal(row, null.embeddings)
    states.sum().backward()
    assert torch.equal(null.embeddings.grad, torch.full((LENGTH, WIDTH), 3.0))


def test_null_states_with_a_learned_table_are_the_table(encoder):
    null = NullText(NullTextConfig(learnable=True, hidden_size=WIDTH, length=LENGTH))
    assert torch.equal(null_states(null, encoder, 2), null(2))


def test_null_states_without_a_learned_table_encode_the_empty_caption(encoder):
    null = NullText(NullTextConfig(learnable=False))
    torch.testing.assert_close(null_states(null, encoder, 2), encoder(["", ""]))
    with pytest.raises(ValueError, match="learnable is False"):
        null(2)


def test_null_text_has_the_weights_of_diffusers():
    from diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion import (
        LearnedClassifierFreeSamplingEmbeddings,
    )

    for learnable in (True, False):
        theirs = LearnedClassifierFreeSamplingEmbeddings(learnable, WIDTH, LENGTH)
        ours = NullText(NullTextConfig(learnable, WIDTH, LENGTH))
        ours.load_state_dict(theirs.state_dict())
        assert torch.equal(ours.embeddings, theirs.embeddings)


@pytest.mark.parametrize(("hidden_size", "length"), [(None, 4), (4, None), (0, 4)])
def test_a_learned_null_text_needs_a_size(hidden_size, length):
    with pytest.raises(ValueError, match=r"is (None|0); allowed: whole numbers of 1 or more"):
        NullTextConfig(learnable=True, hidden_size=hidden_size, length=length)


def test_captions_are_dropped_whole_at_the_rate():
    """5 sigma: the seed is fixed, a new seed fails once in 1.7 million runs."""
    count, rate = 10_000, 0.1
    text, null = torch.ones(count, 3, 2), torch.zeros(count, 3, 2)
    kept = drop_captions(text, null, rate, generator=torch.Generator().manual_seed(0))
    per_caption = kept.sum(dim=(1, 2))
    assert set(per_caption.tolist()) == {0.0, 6.0}
    dropped = (per_caption == 0).double().mean().item()
    assert abs(dropped - rate) < 5 * (rate * (1 - rate) / count) ** 0.5


def test_dropping_is_repeatable_and_has_exact_ends():
    text, null = torch.ones(100, 3, 2), torch.zeros(100, 3, 2)
    first, second = (
        drop_captions(text, null, 0.5, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(drop_captions(text, null, 0.0), text)
    assert torch.equal(drop_captions(text, null, 1.0), null)
    with pytest.raises(ValueError, match=r"rate is 1\.5"):
        drop_captions(text, null, 1.5)


def test_only_dropped_captions_teach_the_null_text():
    null = NullText(NullTextConfig(learnable=True, hidden_size=2, length=3))
    text = torch.ones(50, 3, 2)
    mixed = drop_captions(text, null(50), 0.5, generator=torch.Generator().manual_seed(0))
    mixed.sum().backward()
    count = (mixed[:, 0, 0] != 1).sum()
    assert 0 < count < 50
    assert torch.equal(null.embeddings.grad, torch.full((3, 2), float(count)))


def test_a_draw_that_equals_the_rate_drops_nothing():
    """Draws lie in 0 to 1, 1 excluded: so at rate 0 none is dropped, at rate 1 all are."""
    text, null = torch.ones(5, 2, 3), torch.zeros(5, 2, 3)
    draws = torch.rand(5, generator=torch.Generator().manual_seed(0))
    found = drop_captions(text, null, float(draws[2]), generator=torch.Generator().manual_seed(0))
    assert torch.equal(found[:, 0, 0] == 0, draws < draws[2])
