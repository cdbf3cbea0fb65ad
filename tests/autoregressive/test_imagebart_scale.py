"""One scale of ImageBART: what each position may see, its formula in loops, and its cache."""

import math
from dataclasses import replace

import pytest
import torch
from support.imagebart_toys import (
    BOTH,
    SMALL,
    TINY,
    WITH_TEXT,
    captions,
    seeded,
    spread_weights,
    text_states,
    toy,
)

from vqlearn.autoregressive.decoding import (
    CachedDecoder,
    keep_given,
    sample,
    sequential_log_likelihood,
    without_cache,
)
from vqlearn.autoregressive.imagebart import ImageBART, Scale
from vqlearn.autoregressive.model import log_likelihood
from vqlearn.diffusion.sampler import draw_prior
from vqlearn.probability import filters
from vqlearn.probability.model import Conditioning, Given, Sampling


def sees(output, inputs):
    """Entry (i, j): can input j change output i? `raster.dependence` for any two lengths."""
    jacobian = torch.autograd.functional.jacobian(output, inputs)  # (i, k, j, d)
    return (jacobian != 0).any(dim=3).any(dim=1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_decoder_sees_all_of_x_t_and_only_earlier_positions_of_its_own_sequence(seed):
    """And all of the text. What is encoded of any word or token depends on all of both."""
    scale = spread_weights(Scale(WITH_TEXT).double(), seed)
    h, h_t = torch.randn(2, 6, 8, generator=seeded(seed), dtype=torch.float64)
    text = text_states(WITH_TEXT, 1, seed)[0]

    def encode(h_t, text):
        return scale.encode(h_t[None], text[None])

    def scores(h, h_t, text):
        return scale.from_embedding(h[None], encode(h_t, text))[0]

    assert encode(h_t, text).shape == (1, 4 + 6, 8)
    assert sees(lambda h_t: encode(h_t, text)[0], h_t).all()
    assert sees(lambda text: encode(h_t, text)[0], text).all()
    earlier = torch.ones(6, 6).tril(-1).bool()
    assert torch.equal(sees(lambda h: scores(h, h_t, text), h), earlier)
    assert sees(lambda h_t: scores(h, h_t, text), h_t).all()
    assert sees(lambda text: scores(h, h_t, text), text).all()


def attended(attention, targets, sources):
    """The answer of one attention to each target, head by head."""
    size, answers = attention.query.out_features // attention.num_heads, []
    for target in targets:
        heads = []
        for head in range(attention.num_heads):
            own = slice(head * size, (head + 1) * size)
            keys = torch.stack([attention.key(source)[own] for source in sources])
            values = torch.stack([attention.value(source)[own] for source in sources])
            scores = keys @ attention.query(target)[own] / math.sqrt(size)
            heads.append(scores.softmax(dim=0) @ values)
        answers.append(attention.output(torch.cat(heads)))
    return torch.stack(answers)


def by_hand(scale, x, x_t, text):
    """One layer, one head, one position at a time: what is encoded, and the scores."""
    encoder, decoder = scale.encoder[0], scale.decoder[0]
    line = [scale.token_embedding.weight[k] + scale.position_embedding.weight[i]
            for i, k in enumerate(x_t)]  # fmt: skip
    if text is not None:
        line = [scale.text_to_width(state) + scale.text_position_embedding.weight[i]
                for i, state in enumerate(text)] + line  # fmt: skip
    line = torch.stack(line)
    normed = encoder.self_attention_norm(line)
    line = line + attended(encoder.self_attention, normed, normed)
    line = line + encoder.feed_forward(encoder.feed_forward_norm(line)[None])[0]
    encoded, h, scores = scale.encoder_norm(line), [], []
    for i in range(len(x)):
        before = (
            scale.start_embedding.weight[0] if i == 0 else scale.token_embedding.weight[x[i - 1]]
        )
        h.append(before + scale.position_embedding.weight[i])
        normed = decoder.self_attention_norm(torch.stack(h))
        y = h[i] + attended(decoder.self_attention, normed[i:], normed)[0]
        y = y + attended(decoder.cross_attention, [decoder.cross_attention_norm(y)], encoded)[0]
        y = y + decoder.feed_forward(decoder.feed_forward_norm(y)[None, None])[0, 0]
        scores.append(scale.to_logits(scale.decoder_norm(y)))
    return encoded, torch.stack(scores)


@BOTH
def test_the_scores_are_those_of_the_formula(config):
    scale = spread_weights(Scale(replace(config, num_layers=1)).double())
    x, x_t = torch.randint(5, (2, 2, 6), generator=seeded(0))
    text = text_states(config, 2)
    found = scale.encode(scale.embed(x_t), text), scale(x, x_t, text)
    for i in range(2):
        expected = by_hand(scale, x[i], x_t[i], None if text is None else text[i])
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a[i], b, rtol=1e-10, atol=1e-10)


def test_no_token_of_the_sequence_reaches_its_own_position_or_an_earlier_one():
    scale = spread_weights(Scale(SMALL).double())
    x, x_t = torch.randint(5, (2, 1, 6), generator=seeded(0))
    before = scale(x, x_t)
    for position in range(6):
        changed = x.clone()
        changed[0, position] = (x[0, position] + 1) % 5
        moved = (scale(changed, x_t) - before).abs().amax(dim=-1)[0] > 1e-9
        assert moved.tolist() == [i > position for i in range(6)]


def test_positions_are_told_apart_in_both_sequences():
    """The same tokens everywhere: only positions can make a difference, left or right."""
    scale = spread_weights(Scale(SMALL).double())
    same = torch.zeros(1, 6, dtype=torch.long)
    encoded = scale.encode(scale.embed(same))[0]
    scores = scale(same, same)[0]
    for i in range(5):
        assert (encoded[i] - encoded[i + 1]).abs().max() > 1e-3
        assert (scores[i] - scores[i + 1]).abs().max() > 1e-3
    h, encoded = scale.embed(same), encoded[None]
    before = scale.from_embedding(h, encoded)
    with torch.no_grad():
        scale.position_embedding.weight[4] *= -2
    moved = (scale.from_embedding(h, encoded) - before).abs().amax(dim=-1)[0] > 1e-9
    assert moved.tolist() == [False] * 4 + [True] * 2


def test_another_text_changes_every_position_and_its_order_matters():
    scale = spread_weights(Scale(WITH_TEXT).double())
    x, x_t = torch.randint(5, (2, 1, 6), generator=seeded(0))
    text = text_states(WITH_TEXT)
    for other in (text_states(WITH_TEXT, 1, 1), text.flip(1)):
        moved = scale(x, x_t, text) - scale(x, x_t, other)
        assert (moved.abs().amax(dim=-1) > 1e-3).all()


def test_fresh_weights_are_those_of_the_denoiser():
    """A normal with standard deviation 0.02, biases 0: 3,200 numbers or more, within 10 %."""
    torch.manual_seed(0)
    sizes = {"num_codes": 50, "num_positions": 50, "width": 64}
    scale = Scale(replace(SMALL, **sizes, text_width=50, text_length=50))
    for name, parameter in scale.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        elif parameter.numel() >= 3200:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1), name


def slow(model, x_t, t, condition):
    return without_cache(lambda x: model.log_probs(x, x_t, t, condition), 6)


@BOTH
def test_the_whole_sequence_at_once_or_token_by_token_is_the_same(config):
    model = spread_weights(ImageBART(config).double())
    x, x_t = torch.randint(5, (2, 4, 6), generator=seeded(1))
    text, condition = text_states(config, 4), captions(config, 4)
    for t in (1, 2, 3):
        found = model.log_probs(x, x_t, t, condition)
        expected = model.scales[t - 1](x, x_t, text).log_softmax(dim=-1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
        at_once = log_likelihood(found, x)
        for decoder in (slow(model, x_t, t, condition), model.decoder(x_t, t, condition)):
            one_by_one = sequential_log_likelihood(decoder, x)
            torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=1e-9)
        for i in range(4):
            one = None if text is None else Conditioning(text[i : i + 1])
            alone = log_likelihood(model.log_probs(x, x_t[i : i + 1], t, one), x)
            torch.testing.assert_close(alone[i], at_once[i], rtol=0, atol=1e-9)


@BOTH
def test_the_decoder_knows_the_same_distributions(config):
    """Every distribution of every turn of every scale, also when one noisy sequence serves four
    others."""
    model = spread_weights(ImageBART(config).double())
    x, x_t = torch.randint(5, (2, 4, 6), generator=seeded(1))
    for count in (1, 4):
        condition = captions(config, count)
        for t in (1, 2, 3):
            distributions = model.log_probs(x, x_t[:count], t, condition)
            decoder = model.decoder(x_t[:count], t, condition)
            for i in range(6):
                torch.testing.assert_close(
                    decoder(x[:, :i]), distributions[:, i], rtol=0, atol=1e-9
                )


@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
@BOTH
def test_the_cache_draws_the_same_tokens(config, guidance_scale):
    """With given tokens; with text, guidance and truncation too."""
    model = spread_weights(ImageBART(config).double())
    if config.text_width is None and guidance_scale > 1:
        return
    condition, sampling = captions(config, 50), Sampling(guidance_scale, 0.9)
    given = Given(
        torch.zeros(50, 6, dtype=torch.long), torch.rand(50, 6, generator=seeded(1)) > 0.7
    )
    found = model.sample(50, condition, given=given, sampling=sampling, generator=seeded(3))
    assert torch.equal(given.keep(found), found)
    assert len(found.unique(dim=0)) > 10

    def next_token_log_probs(x_t, t):
        def distribution(prefix):
            log_p = slow(model, x_t, t, condition)(prefix)
            if guidance_scale > 1:
                null = slow(model, x_t, t, Conditioning(condition.null))(prefix)
                log_p = filters.guide(log_p, null, guidance_scale)
            return filters.top_p(log_p, 0.9)

        return keep_given(distribution, given)

    generator = seeded(3)
    x = given.keep(draw_prior(model.process, (50, 6), generator=generator))
    for t in (3, 2, 1):
        x = sample(next_token_log_probs(x, t), x[:, :0], 6, generator=generator)
    assert torch.equal(found, x)


def test_each_input_is_read_once():
    """A drawing: one call of each encoder, keys of its answer once, then token after token."""
    model, text, seen = ImageBART(WITH_TEXT), text_states(WITH_TEXT, 2).float(), []

    def note(name, module):
        module.register_forward_pre_hook(lambda _, inputs: seen.append((name, inputs[0].shape[1])))

    note("encoder", model.scales[1].encoder[1])
    note("keys", model.scales[1].decoder[1].cross_attention.key)
    note("decoder", model.scales[1].decoder[1])
    model.sample(2, Conditioning(text))
    assert seen == [("encoder", 10), ("keys", 10)] + 6 * [("decoder", 1)]


def test_the_decoder_wants_its_turn():
    """What is checked is checked as for a raster transformer: turn, batch and tokens."""
    decoder, x = (
        toy(TINY).decoder(torch.tensor([[0, 1, 1]]), 1),
        torch.tensor([[1, 0, 1]]),
    )
    with pytest.raises(ValueError, match="the prefix has 2 tokens; allowed: 0, in turn"):
        decoder(x[:, :2])
    assert not decoder(x[:, :0]).requires_grad
    with pytest.raises(ValueError, match=r"holds 2 to 2; allowed: 0 to 1"):
        decoder(x[:, :1] + 1)


def test_values_are_not_read_on_other_devices():
    """The meta device has shapes and no values: reading one would raise, as a wait would cost."""
    scale, text = Scale(WITH_TEXT).to("meta"), torch.zeros(2, 4, 3, device="meta")
    x = torch.zeros(2, 6, dtype=torch.long, device="meta")
    assert scale(x, x, text).shape == (2, 6, 5)
    decoder = CachedDecoder(scale, scale.encode(scale.embed(x), text))
    assert [decoder(x[:, :i]).shape for i in range(2)] == 2 * [(2, 5)]
