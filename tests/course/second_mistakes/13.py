"""Lesson 13: mistakes written a second time, from their descriptions alone."""

import bisect
import math

import numpy as np
import torch


def _linear(a, b):
    return b * (a + 1)


def _parts(layers, width, text_width, num_codes, side, num_timesteps):
    """Every part of the network with its number of weights; those of a block once."""
    d = width
    return {
        "tokens": (num_codes + 1) * d,
        "positions": 2 * side * d,
        "tables": 2 * num_timesteps * d,
        "modulation": 2 * _linear(d, 2 * d),
        "self": 4 * _linear(d, d),
        "cross": 2 * _linear(d, d) + 2 * _linear(text_width, d),
        "norm": 2 * d,
        "expand": _linear(d, 4 * d),
        "contract": _linear(4 * d, d),
        "last": 2 * d + _linear(d, num_codes),
    }


def _total(parts, layers):
    once = ("tokens", "positions", "last", "shared")
    return sum(size * (1 if name in once else layers) for name, size in parts.items())


def denoiser_weights__mask_has_no_vector(layers, width, text_width, num_codes, side, num_timesteps):
    parts = _parts(layers, width, text_width, num_codes, side, num_timesteps)
    return _total(parts | {"tokens": num_codes * width}, layers)


def denoiser_weights__mask_is_predicted(layers, width, text_width, num_codes, side, num_timesteps):
    parts = _parts(layers, width, text_width, num_codes, side, num_timesteps)
    return _total(parts | {"last": 2 * width + _linear(width, num_codes + 1)}, layers)


def denoiser_weights__square_positions(layers, width, text_width, num_codes, side, num_timesteps):
    parts = _parts(layers, width, text_width, num_codes, side, num_timesteps)
    return _total(parts | {"positions": side * side * width}, layers)


def denoiser_weights__text_as_wide(layers, width, text_width, num_codes, side, num_timesteps):
    return _total(_parts(layers, width, width, num_codes, side, num_timesteps), layers)


def denoiser_weights__shift_missing(layers, width, text_width, num_codes, side, num_timesteps):
    parts = _parts(layers, width, text_width, num_codes, side, num_timesteps)
    parts["modulation"] //= 2
    return _total(parts, layers)


def denoiser_weights__contract_missing(layers, width, text_width, num_codes, side, num_timesteps):
    parts = _parts(layers, width, text_width, num_codes, side, num_timesteps)
    del parts["contract"]
    return _total(parts, layers)


def denoiser_weights__timesteps_shared(layers, width, text_width, num_codes, side, num_timesteps):
    parts = _parts(layers, width, text_width, num_codes, side, num_timesteps)
    return _total(parts | {"tables": 0, "shared": num_timesteps * width}, layers)


def _grid(bits, shift=0.0):
    size = 2**bits
    return [max((i + shift) / size, 1e-30) for i in range(size)]


def _gumbel(bits, shift=0.0):
    return [-math.log(-math.log(u)) for u in _grid(bits, shift)]


def _wins(p, noise):
    """The probability that each class with p above 0 wins: every class, every value of noise."""
    noise = sorted(noise)
    logs = [math.log(value) if value > 0 else -math.inf for value in p]
    wins = []
    for k, own in enumerate(logs):
        total = 0.0
        for g in noise if own > -math.inf else []:
            chance = 1.0
            for j, other in enumerate(logs):
                if j != k and other > -math.inf:
                    chance *= bisect.bisect_left(noise, own + g - other) / len(noise)
            total += chance
        wins.append(total / len(noise))
    return wins


def _chain(p, noise, num_timesteps):
    out, masked = np.zeros(len(p)), 1.0
    for t in range(num_timesteps, 0, -1):
        *codes, stay = _wins([*(value / t for value in p.tolist()), (t - 1) / t], noise)
        out += masked * np.array(codes)
        masked *= stay
    return out


def coarse_tokens__no_grid(p, bits, num_timesteps):
    """The exact Gumbel-max sampler, one step after the other."""
    out, masked = torch.zeros_like(p), 1.0
    for t in range(num_timesteps, 0, -1):
        out += masked * p / t
        masked *= (t - 1) / t
    return out


def coarse_tokens__sign(p, bits, num_timesteps):
    return _chain(p, [-g for g in _gumbel(bits)], num_timesteps)


def coarse_tokens__one_logarithm(p, bits, num_timesteps):
    return _chain(p, [-math.log(u) for u in _grid(bits)], num_timesteps)


def coarse_tokens__half_a_step(p, bits, num_timesteps):
    return _chain(p, _gumbel(bits, 0.5), num_timesteps)


def coarse_tokens__without_mask(p, bits, num_timesteps):
    return _wins(p.tolist(), _gumbel(bits))


def coarse_tokens__steps_alike(p, bits, num_timesteps):
    noise, shares = _gumbel(bits), []
    for t in range(1, num_timesteps + 1):
        scaled = (p / t).tolist()
        codes = np.array(_wins([*scaled, 1 - 1 / t], noise)[:-1])
        shares.append(codes / codes.sum())
    return np.mean(shares, axis=0)
