"""Submissions in a closed process score what they would score here, and cheats gain nothing."""

import pytest
import torch
from support.challenge_toys import BASELINE, small_task, submission

from vqlearn.challenge import CountedNetwork, run_submission
from vqlearn.course import workers
from vqlearn.course.submissions import Submission
from vqlearn.course.workers import Server

IMPORT = "import torch\n"
HONEST = IMPORT + (
    "def unmask(network, num_images):\n"
    "    x_t = torch.full((num_images, 64), 384)\n"
    "    return network(x_t, 100).argmax(-1)\n"
)


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def task():
    return small_task()


def run_here(text):
    """The sampler of a text, in this process."""
    names = {}
    exec(text, names)

    def run(batch):
        with torch.random.fork_rng():
            torch.manual_seed(batch.seed)
            return names["unmask"](batch.network, batch.num_images)

    return run


@pytest.mark.parametrize(("text", "evaluations"), [(BASELINE, 10), (HONEST, 1)], ids=["10", "1"])
def test_a_submission_scores_what_it_scores_here(text, evaluations, server, task):
    found = run_submission(task, submission(text), server)
    assert found == task.score(run_here(text))
    assert found.evaluations == evaluations


def test_numbers_may_be_asked_and_returned_in_any_type(server, task):
    text = IMPORT + (
        "import numpy as np\n"
        "def unmask(network, num_images):\n"
        "    x_t = np.full((num_images, 64), 384, np.int16)\n"
        "    found = network(x_t=x_t, t=torch.full((num_images,), 100.0), text=True)\n"
        "    assert found.dtype == torch.float32 and found.shape == (num_images, 64, 384)\n"
        "    return found.argmax(-1).numpy().astype(np.uint16)\n"
    )
    assert run_submission(task, submission(text), server) == task.score(run_here(HONEST))


ASK = "def unmask(network, num_images):\n    x_t = torch.full((num_images, 64), 384)\n"
NO_SCORE = {
    "nothing": ("", "no function unmask was found"),
    "another name": ("def sample(network, num_images): pass", "no function unmask was found"),
    "what cannot be parsed": (HONEST + "\n)", r"no function unmask.*cannot be parsed"),
    "an error": (
        ASK + "    return 1 / 0\n",
        r"ZeroDivisionError: division by zero \(in the line `return 1 / 0`\)",
    ),
    "eleven evaluations": (
        ASK + "    for t in range(100, 89, -1):\n        p = network(x_t, t)\n    return p\n",
        "asked 10 times before; allowed: no more",
    ),
    "six guided steps": (
        ASK + "    for t in range(6):\n        network(x_t, 9), network(x_t, 9, text=False)\n"
        "    return x_t\n",
        "asked 10 times before",
    ),
    "more images than there are": (
        ASK + "    return network(x_t.repeat(10, 1), 100)\n",
        "number of sequences in x_t is 30; allowed: 3",
    ),
    "masks": (ASK + "    return x_t\n", "left 192 tokens MASK"),
    "nothing returned": (ASK, "is a `return` missing"),
    "a string": (ASK + "    return 'tokens'\n", "TypeError"),
    "two tensors": (ASK + "    return x_t * 0, x_t * 0\n", "unmask returned .*; allowed"),
    "not a number": (ASK + "    return x_t * float('nan')\n", "holds nan"),
    "vqlearn": (
        ASK + "    from vqlearn.challenge import network\n    return x_t\n",
        "vqlearn cannot be imported here; write it with torch",
    ),
    "an end": ("import os\n" + ASK + "    os._exit(0)\n", "stopped: its process ended"),
    "an endless loop": (ASK + "    while True: pass\n", "timeout: "),
    "endless questions": (
        ASK + "    while True:\n        try:\n            network(x_t, 1)\n"
        "        except ValueError:\n            pass\n",
        "timeout: ",
    ),
    "a huge question": (
        ASK + "    return network(torch.zeros(3, 64, 100_000), 1)\n",
        "FrameError|MemoryError|RuntimeError",
    ),
    "a strange question": (
        ASK + "    return network(x_t, torch.ones(2, 2), torch.ones(1, 1, 1))\n",
        "was asked with shapes",
    ),
    "a question of words": (ASK + "    return network('a large green ring', 5)\n", "TypeError"),
    "not a number as a level": (ASK + "    return network(x_t, float('nan'))\n", "t holds nan"),
}


@pytest.mark.parametrize("name", NO_SCORE)
def test_there_is_a_reason_where_there_is_no_score(name, server, task, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS", 2.0)
    text, reason = NO_SCORE[name]
    with pytest.raises(ValueError, match=reason):
        run_submission(task, submission(IMPORT + text), server)
    monkeypatch.undo()
    assert run_submission(task, submission(HONEST), server).evaluations == 1


def test_what_could_not_be_read_has_no_score(server, task):
    with pytest.raises(ValueError, match="it is a link"):
        run_submission(task, Submission("ada", "ada.py", "", note="it is a link"), server)


NO_GAIN = {
    "what is kept from one batch to the next": """
import os
asked = []
def unmask(network, num_images):
    found = os.listdir(".")
    asked.append(1)
    open("note", "w").write("note")
    assert len(asked) == 1 and not found
    return network(torch.full((num_images, 64), 384), 100).argmax(-1)
""",
    "the error caught": """
def unmask(network, num_images):
    x_t = torch.full((num_images, 64), 384)
    for t in range(100, 0, -1):
        try:
            x_t = network(x_t, t).argmax(-1)
        except ValueError:
            pass
    return x_t
""",
    "a patched counter": """
import sys, gc
def unmask(network, num_images):
    for each in gc.get_objects():
        for name in ("evaluations", "BUDGET"):
            try:
                setattr(each, name, -1000)
            except Exception:
                pass
    for module in list(sys.modules.values()):
        for name in ("BUDGET", "evaluations"):
            try:
                setattr(module, name, 10**6)
            except Exception:
                pass
    x_t = torch.full((num_images, 64), 384)
    for t in range(100, 0, -1):
        try:
            x_t = network(x_t, t).argmax(-1)
        except ValueError:
            pass
    return x_t
""",
    "questions sent by hand": """
import os, sys
def unmask(network, num_images):
    frames = sys.modules.get("frames")
    x_t = torch.full((num_images, 64), 384)
    arrays = [x_t.double().numpy(), *torch.tensor([100.0, 1.0]).double().numpy()]
    first = network(x_t, 100).argmax(-1)
    for _ in range(30):
        try:
            data = frames.packed({"question": True, "calls": [], "evaluations": 0}, arrays)
        except Exception:
            return first
        for number in range(3, 64):
            try:
                os.write(number, data)
                break
            except OSError:
                pass
    return first
""",
    "many threads": """
from concurrent.futures import ThreadPoolExecutor
def unmask(network, num_images):
    x_t = torch.full((num_images, 64), 384)
    with ThreadPoolExecutor(30) as pool:
        found = [pool.submit(network, x_t, t) for t in range(100, 70, -1)]
    return next(one.result() for one in found if not one.exception()).argmax(-1)
""",
}


@pytest.mark.parametrize("name", NO_GAIN)
def test_no_cheat_gets_more_evaluations(name, server, task, monkeypatch):
    """It is scored for what it got in ten, or not at all."""
    monkeypatch.setattr(workers, "SECONDS", 3.0)
    answered, answer = [], CountedNetwork.answer

    def counted(network, question):
        found = answer(network, question)
        answered.append(network)
        return found

    monkeypatch.setattr(CountedNetwork, "answer", counted)
    try:
        found = run_submission(task, submission(IMPORT + NO_GAIN[name]), server)
        assert found.evaluations <= 10
    except ValueError:
        pass
    assert answered
    assert max(answered.count(network) for network in answered) <= 10
