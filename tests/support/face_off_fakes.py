"""Models whose answers are known, and data without images."""

from types import SimpleNamespace

import pytest
import torch
from einops import repeat

from vqlearn.autoregressive.model import AutoregressiveModel
from vqlearn.diffusion.model import DiffusionModel
from vqlearn.diffusion.process import MaskAndReplace
from vqlearn.diffusion.schedule import absorbing, build_schedule
from vqlearn.evaluation import Accuracy
from vqlearn.experiments.face_off.training import SystemRun
from vqlearn.experiments.tokens import EvaluatedTokens, Examples, Trained
from vqlearn.probability.model import Sampling

CODES, COUNT, N = 7, 8, 16
MASK = CODES
TRUTH = torch.randint(CODES, (COUNT, N), generator=torch.Generator().manual_seed(3))
GUIDED = Sampling(1.5, 0.9, 25)


def texts(count=COUNT):
    """The caption of sequence i has states of i."""
    return repeat(torch.arange(count).float(), "b -> b 2 3")


def truth_of(condition):
    return TRUTH[condition.text[:, 0, 0].long() % COUNT]


class FakeData(EvaluatedTokens):
    """Sequences are right if they are the truth, wholly. Those held out come in the other order."""

    def __init__(self, count=COUNT):
        self.num_codes = CODES
        captions = [f"row {i}" for i in range(count)]
        rows = TRUTH.repeat(count // COUNT, 1)
        backwards = Examples(rows.flip(0), captions[::-1], texts(count).flip(0))
        self.examples = {"seen": Examples(rows, captions, texts(count)), "held_out": backwards}

    def accuracy(self, x, captions):
        return all_of(len(x), right=int(self.shows(x, captions).sum()))

    def shows(self, x, captions):
        numbers = torch.tensor([int(caption.split()[1]) for caption in captions])
        return (x == TRUTH[numbers % COUNT]).all(dim=1)


def all_of(total, right=None):
    """So many right captions; all of them if nothing is said."""
    return Accuracy(total if right is None else right, total, 0, {})


class FakeModel(DiffusionModel):
    """A diffusion by masks that knows the truth of each caption.

    `answer` makes of it what the model samples: of the truth and the sampling, or of the truth and
    the half from which it goes on (`starts`). `numbers` tell which random numbers it got.
    """

    def __init__(self, answer=None):
        process = MaskAndReplace(build_schedule(absorbing(CODES, 2)))
        super().__init__(process, torch.nn.Identity(), num_positions=N)
        self.answer, self.starts, self.ways, self.numbers = answer, [], [], []

    def nll(self, x, condition, *, generator):
        return (x != truth_of(condition)).sum(dim=1) + condition.text[:, 0, 0]

    def sample(self, count, condition, *, given=None, sampling, generator):
        self.ways.append(sampling)
        self.numbers.append(float(torch.rand(1, generator=generator)))
        return self.answer(truth_of(condition), sampling)

    def steps(self, x_t, levels, condition, *, given, sampling, generator):
        start = SimpleNamespace(x=x_t, known=x_t != MASK, held=given is not None)
        self.starts.append(start)
        self.ways.append(sampling)
        self.numbers.append(float(torch.rand(1, generator=generator)))
        yield 0, self.answer(truth_of(condition), start)

    def denoiser(self, condition, sampling=None):
        """It gives no code any probability."""
        return lambda x_t, t: torch.zeros(*x_t.shape, CODES + 1).log()


class FakeRaster(FakeModel, AutoregressiveModel):
    """The same as an autoregressive model: it always keeps what is given."""

    def __init__(self, answer=None):
        AutoregressiveModel.__init__(self, SimpleNamespace(num_codes=CODES, num_positions=N))
        self.answer, self.starts, self.ways, self.numbers = answer, [], [], []

    def sample(self, count, condition, *, given=None, sampling, generator):
        if given is None:
            return FakeModel.sample(self, count, condition, sampling=sampling, generator=generator)
        start = SimpleNamespace(x=given.tokens, known=given.where, held=True)
        self.starts.append(start)
        return self.answer(truth_of(condition), start)


NULL = torch.zeros(1, 2, 3)


def trained(model):
    """As a measure gets it."""
    return Trained(model, NULL, 7)


def measure(run, model, data=None, reference=None):
    """What a run makes of this model; `reference` reads what it samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemRun, "trained", lambda self: trained(model))
        patch.setattr(SystemRun, "reference", lambda self, name: trained(reference))
        return run.measure(data or FakeData())


def restore(truth, start):
    return truth


def copy_given(truth, start):
    return torch.where(start.known, start.x, truth)


class Believer(FakeModel):
    """It gives sequence i 0.01 i for its true code, and 0.02 for the code that it sees."""

    def denoiser(self, condition, sampling=None):
        def denoise(x_t, t):
            self.seen_levels.append(t)
            p_x0 = torch.zeros(*x_t.shape, CODES + 1).scatter_(-1, x_t[..., None], 0.02)
            true = (0.01 * condition.text[:, 0, 0])[:, None, None].expand(-1, N, 1)
            return p_x0.scatter_(-1, truth_of(condition)[..., None], true).log()

        return denoise
