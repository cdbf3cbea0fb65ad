"""The state of a training on disk: written often, and always whole, so that killing is no loss.

The state of step i lies in `<folder>/.training/<stage>/<i>/`. It is written beside that name and
renamed, so a folder with this name is complete; then older ones are deleted. Random numbers
depend on the number of the step alone (`probability.random.random_stream`), so weights,
optimizer and counters are the whole state. On a CPU the run goes on bit for bit.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from accelerate import Accelerator

FOLDER = ".training"
CONFIG_FILE = "config.json"


class TrainingState:
    """The states of one stage on disk.

    Everything that the accelerator has prepared, or that was registered with it, is part of it.
    """

    def __init__(self, folder: Path, stage: str, accelerator: Accelerator) -> None:
        self.folder = folder / FOLDER / stage
        self.accelerator = accelerator

    def resume(self, config: dict[str, Any]) -> int:
        """Load the latest state, if there is one, and return the number of steps done.

        `config` is all that decides what comes out: recipe, data, number of processes and so on,
        ready for JSON. Raises `ValueError` if the state was made with others: going on would be
        neither the old run nor a new one.
        """
        if latest := self.latest():
            folder = self.folder / str(latest)
            before = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            changed = [key for key in config if before.get(key) != config[key]]
            if changed:
                seen = ", ".join(f"{key} {config[key]!r}" for key in changed)
                allowed = ", ".join(f"{key} {before.get(key)!r}" for key in changed)
                raise ValueError(
                    f"{self.folder} holds a training that was stopped at step {latest}; "
                    f"to go on with it, {seen} is not allowed: {allowed}; "
                    "to begin again, choose another folder with --out"
                )
            self.accelerator.load_state(str(folder))
        return latest

    def latest(self) -> int:
        """After how many steps the last state was written; 0 if there is none."""
        return max(self._steps(), default=0)

    def save(self, step: int, config: dict[str, Any]) -> None:
        """Write the state after `step` steps. Every process must call it."""
        whole, part = self.folder / str(step), self.folder / f"{step}.part"
        if self.accelerator.is_main_process:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(part))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (part / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
            older = self._steps()
            part.rename(whole)
            for old in older:
                shutil.rmtree(self.folder / str(old))

    def forget(self) -> None:
        """Delete all states of the stage: its result is written."""
        if self.accelerator.is_main_process:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[int]:
        return [int(path.name) for path in self.folder.glob("*") if path.name.isdigit()]
