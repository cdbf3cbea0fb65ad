"""The file of all results: figures/bench.json."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from bench.case import Result

from vqlearn.experiments.report import from_json, to_json
from vqlearn.storage import write_json

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "figures" / "bench.json"
COMMAND = "make bench"
DIGITS = 4


@dataclass(frozen=True)
class Results:
    """Results by device ("cpu", "cuda"), then by the name of the case.

    What is measured again replaces one result; all others stay as they are.
    """

    command: str = COMMAND
    devices: dict[str, dict[str, Result]] = field(default_factory=dict)

    def including(self, device: str, name: str, result: Result) -> "Results":
        """These results, and one more or a newer one."""
        of_device = {**self.devices.get(device, {}), name: result}
        return Results(self.command, {**self.devices, device: of_device})


def read(file: Path) -> Results:
    """What the file holds; without a file nothing. Raises `ValueError` for what is no JSON."""
    if not file.exists():
        return Results()
    return from_json(Results, json.loads(file.read_text(encoding="utf-8")))


def write(results: Results, file: Path) -> None:
    """Write the file, numbers with four digits: more is noise."""
    plain = json.dumps(to_json(results))
    write_json(file, json.loads(plain, parse_float=lambda text: float(f"{float(text):.{DIGITS}g}")))
