"""Lesson 10: mistakes written a second time, from their descriptions alone."""

import itertools
import math

import numpy as np
import torch


def _marginal(joint, positions):
    """Probabilities of the tokens at these positions, as a flat list."""
    table = {}
    for codes in itertools.product(range(joint.shape[0]), repeat=joint.ndim):
        key = tuple(codes[i] for i in sorted(positions))
        table[key] = table.get(key, 0.0) + float(joint[codes])
    return list(table.values())


def _entropy(joint, positions):
    return -sum(q * math.log(q) for q in _marginal(joint, positions) if q > 0)


def _sampler(joint, groups):
    """The distribution of what the sampler writes; uniform where the data never were."""
    everything = set(range(joint.ndim))
    p = torch.ones_like(joint)
    shown = set()

    def kept(positions):
        away = tuple(everything - set(positions))
        return joint.sum(dim=away, keepdim=True) if away else joint

    for group in groups:
        for i in group:
            below = kept(shown).expand_as(joint)
            above = kept(shown | {i}).expand_as(joint)
            p = p * torch.where(below > 0, above / below, 1 / joint.shape[0])
        shown |= set(group)
    return p


def parallel_loss__known_forgotten(joint, groups):
    total = 0.0
    for group in groups:
        total -= _entropy(joint, group)
        for i in group:
            total += _entropy(joint, (i,))
    return total


def parallel_loss__all_at_once(joint, groups):
    product = torch.ones_like(joint)
    n = joint.ndim
    for i in range(n):
        one = joint.movedim(i, 0).flatten(1).sum(1)
        product = product * one.view([-1 if j == i else 1 for j in range(n)])
    seen = joint > 0
    return (joint[seen] * (joint[seen] / product[seen]).log()).sum()


def parallel_loss__joint_entropies(joint, groups):
    losses, known = [], []
    for group in groups:
        alone = [_entropy(joint, [*known, i]) for i in group]
        losses.append(sum(alone) - _entropy(joint, [*known, *group]))
        known.extend(group)
    return torch.tensor(losses, dtype=torch.float64).sum()


def parallel_loss__bits(joint, groups):
    q, p = joint.flatten(), _sampler(joint, groups).flatten()
    return sum(a * math.log2(a / b) for a, b in zip(q.tolist(), p.tolist(), strict=True) if a)


def parallel_loss__kl_reversed(joint, groups):
    p = _sampler(joint, groups)
    terms = torch.special.xlogy(p, p) - torch.special.xlogy(p, joint)
    return terms.sum()


def parallel_loss__zero_log_zero(joint, groups):
    p = _sampler(joint, groups)
    return (joint * (joint.log() - p.log())).sum()


def parallel_loss__p_renormalised(joint, groups):
    p = {}
    for codes in map(tuple, joint.nonzero().tolist()):
        here, shown = 1.0, []
        for group in groups:
            fits = joint
            for i in shown:
                fits = fits.index_select(i, torch.tensor([codes[i]]))
            for i in group:
                one = fits.index_select(i, torch.tensor([min(codes[i], fits.shape[i] - 1)]))
                here *= float(one.sum() / fits.sum())
            shown += group
        p[codes] = here
    total = sum(p.values())
    return sum(float(joint[c]) * math.log(float(joint[c]) * total / p[c]) for c in p)


def _count(n, block, reads, attends):
    """`reads`: for each evaluation, the positions read; `attends` of (evaluation, position)."""
    pairs = sum(attends(e, i) for e, read in enumerate(reads) for i in read)
    return len(reads), sum(map(len, reads)), pairs


def _reads(n, block, steps, cached, again):
    """The positions that each evaluation reads; `again` says of which blocks there is one more."""
    reads = []
    for start in range(0, n, block):
        end = start + block
        if cached:
            times = steps + (1 if again(end) else 0)
            reads += [range(start, end)] * times
        else:
            reads += [range(end)] * steps
    return reads


def block_cost__never_read(n, block, steps, cached):
    reads = _reads(n, block, steps, cached, lambda end: False)
    return _count(n, block, reads, lambda e, i: (i // block + 1) * block)


def block_cost__last_read_too(n, block, steps, cached):
    m = n // block
    attended = block * block
    if cached:
        evaluations = m * (steps + 1)
        return evaluations, evaluations * block, (steps + 1) * attended * m * (m + 1) // 2
    triangle = sum(j * (j + 1) // 2 for j in range(1, m + 1))
    return m * steps, steps * block * m * (m + 1) // 2, steps * attended * triangle


def block_cost__own_block_only(n, block, steps, cached):
    reads = _reads(n, block, steps, cached, lambda end: end < n)
    return _count(n, block, reads, lambda e, i: block)


def block_cost__causal_inside(n, block, steps, cached):
    mask = torch.ones(n, n).tril()
    reads = _reads(n, block, steps, cached, lambda end: end < n)
    pairs = sum(int(mask[list(read)].sum()) for read in reads)
    return len(reads), sum(len(read) for read in reads), pairs


def block_cost__all_attend(n, block, steps, cached):
    reads = _reads(n, block, steps, cached, lambda end: end < n)
    if cached:
        return _count(n, block, reads, lambda e, i: (i // block + 1) * block)
    return len(reads), sum(map(len, reads)), sum(len(read) ** 2 for read in reads)


def block_cost__empty_blocks_read(n, block, steps, cached):
    reads = _reads(n, block, steps, cached, lambda end: end < n)
    if not cached:
        reads = [range(n) for _ in reads]
    return _count(n, block, reads, lambda e, i: (i // block + 1) * block)


def _confidence(log_p, drawn, uniform, temperature):
    own = torch.einsum("bnk,bnk->bn", log_p, torch.eye(log_p.shape[-1]).to(log_p)[drawn])
    return own - temperature * torch.log(-torch.log(uniform))


def _write(x, drawn, score, mask, left):
    """One sequence after the other; the `left` lowest scores stay MASK."""
    new = x.clone()
    for row in range(len(x)):
        places = [i for i in range(x.shape[1]) if x[row, i] == mask]
        places.sort(key=lambda i, row=row: float(score[row, i]))
        for i in places[left:]:
            new[row, i] = drawn[row, i]
    return new


def maskgit_step__gumbel_sign(log_p, x, drawn, uniform, left, temperature):
    score = _confidence(log_p, drawn, uniform, -temperature)
    return _write(x, drawn, score, log_p.shape[-1], left)


def maskgit_step__least_sure(log_p, x, drawn, uniform, left, temperature):
    score = _confidence(log_p, drawn, uniform, temperature)
    return _write(x, drawn, -score, log_p.shape[-1], left)


def maskgit_step__known_compete(log_p, x, drawn, uniform, left, temperature):
    num_codes = log_p.shape[-1]
    score = _confidence(log_p, drawn, uniform, temperature)
    filled = torch.where(x == num_codes, drawn, x)
    _, low = score.topk(left, dim=1, largest=False)
    return filled.scatter(1, low, num_codes)


def maskgit_step__noise_on_p(log_p, x, drawn, uniform, left, temperature):
    p = torch.distributions.Categorical(logits=log_p).probs
    score = _confidence(p, drawn, uniform, temperature)
    return _write(x, drawn, score, log_p.shape[-1], left)


def maskgit_step__purity(log_p, x, drawn, uniform, left, temperature):
    gumbel = -np.log(-np.log(uniform.numpy()))
    score = log_p.numpy().max(-1) + temperature * gumbel
    return _write(x, drawn, score, log_p.shape[-1], left)


def maskgit_step__left_revealed(log_p, x, drawn, uniform, left, temperature):
    num_codes = log_p.shape[-1]
    score = _confidence(log_p, drawn, uniform, temperature)
    score = score.masked_fill(x != num_codes, -torch.inf)
    rank = score.argsort(1, descending=True).argsort(1)
    return torch.where((x == num_codes) & (rank < left), drawn, x)
