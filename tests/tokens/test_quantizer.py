"""The quantizer against loops, hand-made gradients and a plain moving average."""

import math

import pytest
import torch

from vqlearn.tokens.quantizer import CodebookEMA, VectorQuantizer, perplexity


def make(num_codes=7, code_dim=3, seed=0):
    torch.manual_seed(seed)
    quantizer = VectorQuantizer(num_codes, code_dim).double()
    torch.nn.init.normal_(quantizer.codebook.weight)
    return quantizer


def vectors_like(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_nearest_equals_a_loop_over_all_codes():
    quantizer, vectors = make(), vectors_like(2, 4, 5, 3)
    expected = [
        min(range(7), key=lambda k: sum((v - quantizer.codebook.weight[k]) ** 2).item())
        for v in vectors.reshape(-1, 3)
    ]
    found = quantizer.encode(vectors)
    assert found.shape == (2, 4, 5)
    assert found.flatten().tolist() == expected
    assert len(set(expected)) > 3


@pytest.mark.parametrize("scale", [1 / 4096, 1.0, 100.0])
def test_float32_finds_a_code_as_near_as_float64_does(scale):
    quantizer = VectorQuantizer(512, 16)
    torch.nn.init.normal_(quantizer.codebook.weight, std=scale)
    vectors = vectors_like(500, 16).float()
    codes = quantizer.codebook.weight.double()
    squares = torch.cdist(vectors.double(), codes, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    chosen = squares.gather(1, quantizer.encode(vectors)[:, None])[:, 0]
    reach = codes.norm(dim=1).max() * (vectors.norm(dim=1).max() + codes.norm(dim=1).max())
    assert (chosen - squares.min(1).values).max() < 1e-6 * reach


def test_mixed_precision_does_not_change_the_tokens():
    quantizer, vectors = make().float(), vectors_like(300, 3).float()
    plain = quantizer.encode(vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantizer.encode(vectors), plain)


def test_ties_go_to_the_lowest_index():
    quantizer = make(num_codes=600, code_dim=5).float()
    with torch.no_grad():
        quantizer.codebook.weight[300:] = quantizer.codebook.weight[:300].clone()
    assert quantizer.encode(vectors_like(1000, 5).float()).max() < 300
    with torch.no_grad():
        quantizer.codebook.weight[:2] = torch.tensor([[1.0], [-1.0]])
        quantizer.codebook.weight[2:] = 9.0
    assert quantizer.encode(torch.zeros(4, 5)).tolist() == [0] * 4


def test_wrong_width_and_wrong_sizes_raise():
    with pytest.raises(ValueError, match="width 4; allowed: 3"):
        make().encode(vectors_like(2, 4))
    with pytest.raises(ValueError, match="num_codes is 0"):
        VectorQuantizer(0, 3)


@pytest.mark.parametrize("token", [-1, 7])
def test_lookup_refuses_tokens_outside_the_codebook(token):
    with pytest.raises(ValueError, match=f"a token is {token}; allowed: codes, 0 to 6"):
        make().lookup(torch.tensor([[0, token]]))


def test_lookup_returns_the_rows_of_the_codebook():
    quantizer = make()
    indices = torch.tensor([[6, 0], [2, 2]])
    rows = quantizer.lookup(indices)
    assert torch.equal(rows, quantizer.codebook.weight[indices])


def test_straight_through_gradient_is_the_identity():
    quantizer, vectors = make(), vectors_like(2, 4, 3).requires_grad_()
    quantized = quantizer(vectors)
    assert torch.equal(quantized.vectors, quantizer.lookup(quantized.indices))
    arriving = vectors_like(2, 4, 3, seed=2)
    quantized.vectors.backward(arriving)
    assert torch.equal(vectors.grad, arriving)
    assert quantizer.codebook.weight.grad is None


def test_commitment_loss_moves_the_encoder_only():
    quantizer, vectors = make(), vectors_like(2, 4, 3).requires_grad_()
    quantized = quantizer(vectors)
    quantized.commitment_loss.backward()
    gap = vectors.detach() - quantizer.codebook.weight.detach()[quantized.indices]
    torch.testing.assert_close(quantized.commitment_loss.detach(), (gap**2).mean())
    torch.testing.assert_close(vectors.grad, 2 * gap / gap.numel(), rtol=0, atol=1e-15)
    assert quantizer.codebook.weight.grad is None


def test_codebook_loss_moves_the_codes_only():
    quantizer, vectors = make(), vectors_like(2, 4, 3).requires_grad_()
    quantized = quantizer(vectors)
    quantized.codebook_loss.backward()
    expected = torch.zeros(7, 3, dtype=torch.float64)
    for vector, index in zip(
        vectors.detach().view(-1, 3), quantized.indices.flatten(), strict=True
    ):
        expected[index] += 2 * (quantizer.codebook.weight.detach()[index] - vector) / 24
    torch.testing.assert_close(quantizer.codebook.weight.grad, expected, rtol=0, atol=1e-15)
    assert vectors.grad is None


def test_perplexity_at_both_ends():
    assert perplexity(torch.arange(8).repeat(5), 8).item() == pytest.approx(8, abs=1e-5)
    assert perplexity(torch.full((9,), 3), 8).item() == 1
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert perplexity(torch.tensor([[0, 0], [0, 5]]), 8).item() == pytest.approx(expected, abs=1e-6)


def plain_ema(codes, batches, decay, epsilon):
    """The same moving average with lists and loops."""
    num_codes, width = codes.shape
    counts, sums = [1.0] * num_codes, codes.tolist()
    for batch in batches:
        nearest = [
            min(range(num_codes), key=lambda k: math.dist(vector, codes[k].tolist()))
            for vector in batch.tolist()
        ]
        for k in range(num_codes):
            mine = [v for v, index in zip(batch.tolist(), nearest, strict=True) if index == k]
            counts[k] = decay * counts[k] + (1 - decay) * len(mine)
            for i in range(width):
                sums[k][i] = decay * sums[k][i] + (1 - decay) * sum(v[i] for v in mine)
        total = sum(counts)
        smooth = [(c + epsilon) / (total + num_codes * epsilon) * total for c in counts]
        rows = [[s / n for s in row] for row, n in zip(sums, smooth, strict=True)]
        codes = torch.tensor(rows, dtype=torch.float64)
    return codes, counts


@pytest.mark.parametrize(("decay", "epsilon"), [(0.9, 0.3), (0.99, 1e-5), (0.0, 1e-2)])
def test_ema_equals_a_plain_loop(decay, epsilon):
    quantizer = make()
    batches = [vectors_like(40, 3, seed=seed) for seed in range(5)]
    expected, counts = plain_ema(quantizer.codebook.weight.detach(), batches, decay, epsilon)
    ema = CodebookEMA(quantizer, decay, epsilon)
    for batch in batches:
        ema.update(quantizer, quantizer(batch))
    torch.testing.assert_close(quantizer.codebook.weight.data, expected, rtol=0, atol=1e-12)
    counts = torch.tensor(counts, dtype=torch.float64)
    torch.testing.assert_close(ema.counts, counts, rtol=0, atol=1e-12)


def test_only_update_moves_the_codes():
    quantizer = make()
    ema = CodebookEMA(quantizer)
    before = quantizer.codebook.weight.clone()
    for mode in (True, False):
        quantizer.train(mode)
        ema.train(mode)
        quantized = quantizer(vectors_like(2, 8, 3))
    assert torch.equal(quantizer.codebook.weight, before)
    assert not quantizer.codebook.weight.requires_grad
    assert not quantized.codebook_loss.requires_grad
    ema.update(quantizer, quantized)
    assert not torch.equal(quantizer.codebook.weight, before)
    assert list(quantizer.state_dict()) == ["codebook.weight"]


def test_ema_resumes_exactly():
    quantizer = make()
    ema = CodebookEMA(quantizer, decay=0.8)
    batches = [vectors_like(40, 3, seed=seed) for seed in range(6)]
    for batch in batches[:3]:
        ema.update(quantizer, quantizer(batch))
    copy = make(seed=5)
    copy.load_state_dict(quantizer.state_dict())
    copy_ema = CodebookEMA(copy, decay=0.8)
    copy_ema.load_state_dict(ema.state_dict())
    for batch in batches[3:]:
        ema.update(quantizer, quantizer(batch))
        copy_ema.update(copy, copy(batch))
    assert torch.equal(copy.codebook.weight, quantizer.codebook.weight)


def test_bad_decay_raises():
    with pytest.raises(ValueError, match=r"decay is 1\.0; allowed: 0 or more, below 1"):
        CodebookEMA(make(), decay=1.0)


def make_with_dead_codes(**options):
    """Codes 3 to 6 are far from every vector and lose their count in one update."""
    quantizer = make()
    with torch.no_grad():
        quantizer.codebook.weight[3:] += 100
    ema = CodebookEMA(quantizer, decay=0.01, **options)
    quantized = quantizer(vectors_like(60, 3))
    ema.update(quantizer, quantized)
    return quantizer, ema, quantized


def test_dead_codes_move_to_current_vectors_and_are_used():
    quantizer, ema, quantized = make_with_dead_codes()
    before = quantizer.codebook.weight.clone()
    moved = ema.revive_dead_codes(quantizer, quantized, generator=torch.Generator().manual_seed(0))
    after = quantizer.codebook.weight
    assert moved == 4
    assert torch.equal(after[:3], before[:3])
    assert torch.cdist(after[3:], quantized.inputs).min(1).values.max() < 1e-6
    assert len(after[3:].unique(dim=0)) == 4
    assert set(quantizer(quantized.inputs).indices.tolist()) == set(range(7))
    ema.update(quantizer, quantizer(quantized.inputs))
    assert ema.revive_dead_codes(quantizer, quantized) == 0


def test_a_moved_code_that_nobody_chooses_stays_there_and_is_dead_again():
    quantizer, ema, quantized = make_with_dead_codes()
    ema.decay = 0.9
    least = 0.05 * ema.counts.mean()
    ema.revive_dead_codes(quantizer, quantized)
    assert ema.counts[3:].tolist() == [least] * 4
    moved = quantizer.codebook.weight.clone()
    ema.update(quantizer, quantized)  # tokens from before the move: nobody chooses codes 3 to 6
    torch.testing.assert_close(quantizer.codebook.weight[3:], moved[3:], rtol=1e-4, atol=0)
    assert ema.revive_dead_codes(quantizer, quantized) == 4


def test_the_generator_decides_where_dead_codes_go():
    codes = []
    for seed in (0, 0, 1):
        quantizer, ema, quantized = make_with_dead_codes()
        generator = torch.Generator().manual_seed(seed)
        ema.revive_dead_codes(quantizer, quantized, generator=generator)
        codes.append(quantizer.codebook.weight.clone())
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])


def test_more_dead_codes_than_vectors_share_them():
    quantizer, ema, quantized = make_with_dead_codes()
    few = quantizer(quantized.inputs[:2])
    assert ema.revive_dead_codes(quantizer, few) == 4
    assert len(quantizer.codebook.weight[3:].unique(dim=0)) == 2


def test_of_two_codes_that_are_too_near_the_rarer_one_moves():
    quantizer, ema, quantized = make_with_dead_codes()
    with torch.no_grad():
        quantizer.codebook.weight[1] = quantizer.codebook.weight[0] + 0.01
    ema.counts[:] = torch.tensor([30.0, 20.0, 10.0, 10.0, 10.0, 10.0, 10.0])
    near = 0.02 * quantizer.codebook.weight.shape[1] ** 0.5
    before = quantizer.codebook.weight.clone()
    quantizer.codebook.weight.data[3:] += torch.arange(4)[:, None]  # the far ones, apart
    before[3:] += torch.arange(4)[:, None]
    assert ema.revive_dead_codes(quantizer, quantized, apart=near / 10) == 0
    assert ema.revive_dead_codes(quantizer, quantized, apart=near) == 1
    moved = (quantizer.codebook.weight != before).any(1)
    assert moved.tolist() == [False, True, *[False] * 5]


def test_vectors_without_a_good_code_attract_dead_codes():
    """98 vectors lie on code 0; 2 have no code near. Both get one of the four dead codes."""
    quantizer, ema, _ = make_with_dead_codes()
    vectors = quantizer.codebook.weight[:1].detach().repeat(100, 1)
    vectors[7] += 5
    vectors[70] -= 5
    quantized = quantizer(vectors)
    ema.revive_dead_codes(quantizer, quantized, generator=torch.Generator().manual_seed(0))
    codes = quantizer.codebook.weight[3:]
    assert torch.cdist(vectors[[7, 70]], codes).min(1).values.tolist() == [0, 0]


def record_sums(tensors):
    return lambda tensor: tensors.append(tensor.clone()) or tensor


def test_processes_agree_on_codes():
    """Two processes, one after the other: first record what each gives, then hand out the sums."""
    batches, given = [vectors_like(60, 3, seed=s) for s in (1, 2)], ([], [])

    def run(rank, reduce):
        quantizer = make()
        with torch.no_grad():
            quantizer.codebook.weight[3:] += 100
        ema = CodebookEMA(quantizer, decay=0.01, reduce=reduce)
        quantized = quantizer(batches[rank])
        ema.update(quantizer, quantized)
        generator = torch.Generator().manual_seed(rank)
        ema.revive_dead_codes(quantizer, quantized, contribute=rank == 0, generator=generator)
        return quantizer.codebook.weight

    for rank in (0, 1):
        run(rank, record_sums(given[rank]))
    counts, sums, candidates = (a + b for a, b in zip(*given, strict=True))
    assert counts.sum() == 120
    replies = [iter([counts, sums, candidates]) for _ in (0, 1)]
    codes = [run(rank, lambda _, rank=rank: next(replies[rank])) for rank in (0, 1)]
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0][3:], given[0][2])
    assert not given[1][2].any()
