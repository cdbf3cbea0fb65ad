"""Run a submission in a closed process; only the network is in this one, and counts."""

from typing import Any

from vqlearn.challenge.task import PromptBatch, ScenesTask, TaskScore
from vqlearn.course.definitions import definitions, unread
from vqlearn.course.submissions import Submission
from vqlearn.course.workers import Ended, Server, shortened

NAME = "unmask"
CALL = """
def _unmask_with_seed(ask, num_images, seed):
    import torch

    torch.manual_seed(seed)
    return unmask(lambda x_t, t, text=True: ask(x_t, t, text), num_images)
"""


def run_submission(task: ScenesTask, submission: Submission, server: Server) -> TaskScore:
    """What the function `unmask` of a submission scores.

    Raises `ValueError`, and says why, for one that has no score.
    """
    source = definitions(submission.cells, NAME)
    if submission.note or source is None:
        reasons = [submission.note or f"no function {NAME} was found", *unread(submission.cells)]
        raise ValueError(shortened("; ".join(reasons)))

    def run(batch: PromptBatch) -> Any:
        call, answer = (batch.num_images, batch.seed), batch.network.answer
        found = server.ask(source + CALL, "_unmask_with_seed", [call], answer=answer)
        if isinstance(found, Ended):
            raise ValueError(f"{found.status}: {found.message}")
        if found.error:
            raise ValueError(found.error)
        return found.calls[0][0] if len(found.calls[0]) == 1 else found.calls[0]

    return task.score(run)
