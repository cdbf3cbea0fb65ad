"""The state of a training on disk: written often, and always whole, so that killing is no loss.

The state of step i lies in `<folder>/.training/<stage>/<i>/`: all tensors in one file of
safetensors, all else as JSON, and the SHA-256 of both. It is written beside that name and renamed,
so a folder with this name is complete; then older ones are deleted. Random numbers depend on the
number of the step alone (`probability.random.random_stream`), so weights, optimizer and counters
are the whole state, the same in every process. On a CPU the run goes on bit for bit.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import load_file, save_file

from vqlearn.checkpoints import CheckpointError
from vqlearn.checkpoints.layout import naming
from vqlearn.storage import atomic_folder, disk_errors, flatten, sha256, unflatten
from vqlearn.training import record

FOLDER = ".training"
TENSORS_FILE = "state.safetensors"
JSON_FILE = "state.json"
DIGESTS_FILE = "digests.json"


class Stateful(Protocol):
    """A network, an optimizer, or whatever else learns."""

    def state_dict(self) -> Mapping[str, Any]:
        """Nested mappings and lists of tensors and of what JSON can hold."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take over what `state_dict` gave."""


class TrainingState:
    """The states of one stage on disk; `parts` is all that learns, by its name."""

    def __init__(self, folder: Path, stage: str, parts: Mapping[str, Stateful]) -> None:
        self.folder, self.parts = folder / FOLDER / stage, parts

    def resume(self, config: dict[str, Any]) -> int:
        """Load the latest state, if there is one, and return the number of steps done.

        `config` is all that decides what comes out: recipe, data, number of processes and so on,
        ready for JSON. Raises `ValueError` if the state was made with others: going on would be
        neither the old run nor a new one. Raises `CheckpointError` if a file of the state was
        changed, or if an older version of vqlearn wrote it, whose files could hold code.
        """
        latest = self.latest()
        if latest:
            folder, stored = self.newest(), self._stored()
            self._check_config(config, stored["config"], latest)
            with naming(folder, Exception):
                tensors = load_file(folder / TENSORS_FILE)
                for name, part in self.parts.items():
                    part.load_state_dict(unflatten(stored["parts"][name], tensors))
        return latest

    def save(self, step: int, config: dict[str, Any]) -> None:
        """Write the state after `step` steps, then delete the one before.

        Raises `OSError` if there is no room for both: then the one before stays.
        """
        self._keep_only(self.latest())  # not what a kill left half written
        tensors = {}
        parts = {
            name: flatten(part.state_dict(), name, tensors) for name, part in self.parts.items()
        }
        try:
            with atomic_folder(self.folder / str(step)) as folder, disk_errors(folder):
                save_file(tensors, folder / TENSORS_FILE)
                plain = json.dumps({"config": config, "parts": parts})
                (folder / JSON_FILE).write_text(plain, encoding="utf-8")
                (folder / DIGESTS_FILE).write_text(json.dumps(_digests(folder)), encoding="utf-8")
        except OSError as error:
            latest = self.latest()
            stays = f"that of step {latest} stays" if latest else "there is none yet"
            raise OSError(
                f"the state of step {step} cannot be written to {self.folder} "
                f"({error.strerror or error}); {stays}; the same command goes on from there"
            ) from error
        self._keep_only(step)

    def config(self) -> dict[str, Any]:
        """That of the newest state. Raises `CheckpointError` as `resume` does."""
        return self._stored()["config"]

    def newest(self) -> Path:
        """The folder of the newest state, if there is one."""
        return self.folder / str(self.latest())

    def latest(self) -> int:
        """The steps done in the latest state; 0: there is none."""
        names = [path.name for path in self.folder.glob("*") if path.is_dir()]
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def _stored(self) -> dict[str, Any]:
        """What the newest state holds besides tensors."""
        folder = self.newest()
        self._check_files(folder)
        with naming(folder, Exception):  # what is in it may still fit nothing
            stored = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
            return {**stored, "config": dict(stored["config"])}

    def _check_files(self, folder: Path) -> None:
        again = f"to begin this stage again, delete {self.folder}"
        if any(folder.glob("*.pkl")):
            raise CheckpointError(
                f"{folder} was written by an older version of vqlearn, in files that may hold code "
                f"and are not opened; {again}"
            )
        with naming(folder, Exception):
            listed, seen = dict(json.loads((folder / DIGESTS_FILE).read_bytes())), _digests(folder)
        for name, digest in seen.items():
            if listed.get(name) != digest:
                raise CheckpointError(
                    f"{folder / name} was changed since it was written, or its digest in "
                    f"{DIGESTS_FILE} was; {again}"
                )

    def _check_config(self, config: dict[str, Any], before: dict[str, Any], latest: int) -> None:
        if changed := record.differing(before, config):
            raise ValueError(
                f"{self.folder} holds a training that was stopped at step {latest}; to go on with "
                f"it, {record.difference(before, config, changed)}; to begin again, choose another "
                "folder with --out"
            )

    def _keep_only(self, step: int) -> None:
        for path in self.folder.glob("*"):
            if path.name != str(step):
                shutil.rmtree(path, ignore_errors=True)


def forget(folder: Path, stage: str) -> None:
    """Delete all states of a stage: its result is written."""
    shutil.rmtree(folder / FOLDER / stage, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    return {name: sha256(folder / name) for name in (TENSORS_FILE, JSON_FILE)}
