"""The properties for which the named worlds are there."""

import pytest
import torch

from vqlearn.diffusion.exact.examples import WORLDS, chain, long_chain, square

EDGES = ((0, 1), (0, 2), (1, 3), (2, 3))


@pytest.mark.parametrize("coupling", [0.0, 1.0, -0.5])
def test_the_square_weighs_states_by_their_equal_neighbours(coupling):
    world = square(coupling)
    equal = sum((world.states[:, a] == world.states[:, b]).double() for a, b in EDGES)
    expected = (coupling * equal).softmax(dim=0)
    assert torch.allclose(world.distribution, expected, atol=1e-15)


def test_given_two_opposite_corners_of_the_square_the_others_are_independent():
    table = square().distribution.view(2, 2, 2, 2)
    for b in (0, 1):
        for c in (0, 1):
            corners = table[:, b, c, :] / table[:, b, c, :].sum()
            alone = corners.sum(dim=1, keepdim=True) * corners.sum(dim=0, keepdim=True)
            assert torch.allclose(corners, alone, atol=1e-15)
    neighbours, opposite = table.sum((2, 3)), table.sum((0, 3))
    assert neighbours[0, 0] > opposite[0, 0] > 0.3


def test_a_long_chain_of_four_tokens_is_the_chain():
    world = chain(0.7)
    log_p = long_chain(4, 0.7).log_prob(world.states)
    assert torch.allclose(log_p.exp(), world.distribution, atol=1e-15)


def test_worlds_are_listed_by_the_names_of_their_functions():
    assert {name: make.__name__ for name, make in WORLDS.items()} == {name: name for name in WORLDS}
    assert {"twins", "parity", "chain", "square"} <= set(WORLDS)
