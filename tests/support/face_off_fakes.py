"""Players whose answers are known, and data without images."""

import torch
from einops import repeat

from vqlearn.experiments.face_off.data import EvaluatedTokens, Examples
from vqlearn.experiments.face_off.players import DiffusionPlayer, Drawing
from vqlearn.experiments.face_off.starts import Start
from vqlearn.experiments.face_off.system_run import Trained
from vqlearn.experiments.report import Accuracy

CODES, COUNT, N = 7, 8, 16
TRUTH = torch.randint(CODES, (COUNT, N), generator=torch.Generator().manual_seed(3))


def spoken(count=COUNT):
    """The caption of row i has states of i."""
    return repeat(torch.arange(count).float(), "b -> b 2 3")


class FakeData(EvaluatedTokens):
    """Sequences are right if they are the truth, wholly. Those held out come in the other order."""

    def __init__(self, count=COUNT):
        self.num_codes = CODES
        captions = [f"row {i}" for i in range(count)]
        rows = TRUTH.repeat(count // COUNT, 1)
        backwards = Examples(rows.flip(0), captions[::-1], spoken(count).flip(0))
        self.examples = {"seen": Examples(rows, captions, spoken(count)), "held_out": backwards}

    def accuracy(self, x, captions):
        return all_of(len(x), right=int(self.shows(x, captions).sum()))

    def shows(self, x, captions):
        numbers = torch.tensor([int(caption.split()[1]) for caption in captions])
        return (x == TRUTH[numbers % COUNT]).all(dim=1)


def all_of(total, right=None):
    """So many right captions; all of them if nothing is said."""
    return Accuracy(total if right is None else right, total, 0, {})


class FakePlayer:
    """A player that knows the truth of each caption; `answer` makes of it what it draws."""

    def __init__(self, answer=None, left=None):
        self.answer, self.left = answer, left
        self.starts, self.ways, self.numbers, self.hidden = [], [], [], []

    def truth(self, heard):
        return TRUTH[heard.text[:, 0, 0].long() % COUNT]

    def nats(self, x, text, generator):
        return (x != TRUTH[text[:, 0, 0].long() % COUNT]).sum(dim=1) + text[:, 0, 0]

    def lose_half(self, x, generator):
        """What is lost is the next code; it may be drawn anew, from level 4 on."""
        left = self.left.repeat(len(x) // COUNT, 1)
        return Start(torch.where(left, x, (x + 1) % CODES), left, fixed=False, level=4)

    def hide(self, x, given, generator):
        self.hidden.append(float(torch.rand(1, generator=generator)))
        return Start(torch.where(given, x, (x + 2) % CODES), given, fixed=True, level=5)

    def draw(self, heard, n, drawing, generator):
        self.ways.append(drawing)
        self.numbers.append(float(torch.rand(1, generator=generator)))
        return self.answer(self.truth(heard), drawing)

    def go_on(self, start, heard, drawing, generator):
        self.starts.append(start)
        self.ways.append(drawing)
        self.numbers.append(float(torch.rand(1, generator=generator)))
        return self.answer(self.truth(heard), start)


NULL = torch.zeros(1, 2, 3)


def trained(player):
    """As a measure gets it."""
    return Trained(player, NULL, 7)


LEFT = torch.rand(COUNT, N, generator=torch.Generator().manual_seed(5)) < 0.6
WAY = Drawing(1.5, 0.9, 25)


def restore(truth, start):
    return truth


def copy_given(truth, start):
    return torch.where(start.given, start.x, truth)


class Believer(FakePlayer, DiffusionPlayer):
    """It gives row i a predicted distribution of 0.01 i in its true code, and 0.02 in what it sees
    elsewhere."""

    def p_x0(self, start, heard):
        row = heard.text[:, 0, 0].long()
        self.levels.append(start.level)
        p_x0 = torch.zeros(*start.x.shape, CODES)
        p_x0.scatter_(-1, start.x[..., None], 0.02)
        true = (0.01 * row)[:, None, None].expand(-1, N, 1)
        return p_x0.scatter_(-1, self.truth(heard)[..., None], true)
