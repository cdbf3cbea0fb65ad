"""How fast is it here, beside other libraries, and how much memory does it take? `make bench`.

    TQDM_DISABLE=1 PYTHONPATH=tests python -m bench     all cases of this device: `make bench`
    … -m bench --only generation/small truncation       some, by beginnings of names
    … -m bench --full-depth                             also 36 layers (12 GB of memory)

Each result is written into figures/bench.json, and into the table of figures/bench.md, as soon as
it is there; all others stay. Threads are torch's own choice: OMP_NUM_THREADS changes it.
"""

import argparse
import warnings

from bench import page, store
from bench.case import Setting, result_of
from bench.cases import chosen
from bench.machine import this_machine
from bench.pairs import PAIRS
from diffusers.utils import logging

from vqlearn.experiments.runner import best_device
from vqlearn.probability.checks import check_integer


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command was told."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="beginnings of names")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="how often each side is measured")
    parser.add_argument("--device", default=best_device(), choices=("cpu", "cuda"))
    parser.add_argument("--full-depth", action="store_true", help="also 36 layers")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write each result at once."""
    told = options(arguments)
    check_integer("--pairs", told.pairs, 1)
    setting = Setting(told.pairs, told.device, told.full_depth)
    cases, machine = chosen(told.only, setting), this_machine(told.device)
    print(page.described(machine), flush=True)
    for name, case in cases.items():
        result = result_of(case, setting, machine)
        results = store.read(store.RESULTS).including(told.device, name, result)
        store.write(results, store.RESULTS)
        page.write(results, page.PAGE)
        letters = {page.described(machine): ""}
        print(name, *page.line(case, result, letters)[2:5], sep="   ", flush=True)
    print(page.main_table(results))


if __name__ == "__main__":
    warnings.simplefilter("ignore", FutureWarning)  # diffusers', of its next version
    logging.set_verbosity_error()
    main()
