"""Pictures of the face-off. (Their numbers are those of `face_off.results`.)"""

import matplotlib.pyplot as plt

from vqlearn.face_off import pictures
from vqlearn.face_off.results import Seeds


def test_equal_seeds_have_bars_of_no_length():
    """The mean of three equal numbers can be rounded to one above or below all of them."""
    equal = Seeds((0.05, 0.05, 0.05))
    assert equal.mean != 0.05
    axes = plt.figure().gca()
    pictures._bars(axes, [0], [equal])
    plt.close("all")
