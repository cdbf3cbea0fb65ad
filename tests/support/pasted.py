"""Functions that a student could paste: those of the package and those of the lessons."""

import ast
import inspect
import math
import pkgutil
import resource
import sys
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import nbformat
import torch
from support.time_limit import at_most

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ROOMS = ("probability", "tokens", "diffusion")
NOT_THERE = ("vqlearn", "matplotlib", "ipywidgets", "IPython")  # in a submission
LONGEST = 1.0  # seconds: with arguments that it was not made for, a function may never end
LARGEST = 2 << 30  # bytes, above what is in use


def package_functions():
    """Every function of these rooms by its full name, without the type checks of the tests."""
    found = {}
    for room in ROOMS:
        path = import_module(f"vqlearn.{room}").__path__
        for info in pkgutil.walk_packages(path, f"vqlearn.{room}."):
            for name, value in vars(import_module(info.name)).items():
                if inspect.isfunction(value) and value.__module__ == info.name:
                    found[f"{info.name}.{name}"] = inspect.unwrap(value)
    return found


def lesson_functions():
    """Every function that a cell of a lesson defines.

    It finds the other functions of its notebook, names that are set to plain numbers, and what is
    imported from libraries that a submission can import.
    """
    found = {}
    for file in LESSONS:
        names = {"torch": torch, "math": math, "Fraction": Fraction}
        for node in _statements(file):
            if isinstance(node, ast.FunctionDef):
                node.decorator_list = []
            if _run(node, names) and isinstance(node, ast.FunctionDef):
                found[f"{file.stem}, {node.name}, {len(found)}"] = names[node.name]
    return found


def takes(function, number):
    """Can the function be given so many arguments, by their places?"""
    try:
        inspect.signature(function).bind(*range(number))
    except TypeError:
        return False
    return True


@contextmanager
def limited():
    """Raise `TimeoutError` in what takes too long, `MemoryError` in what takes too much (Linux)."""
    memory = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + LARGEST
        resource.setrlimit(resource.RLIMIT_AS, (most, memory[1]))
    try:
        with at_most(LONGEST, TimeoutError):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, memory)


def _statements(file):
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "code":
            lines = [line for line in cell.source.split("\n") if not line.startswith(("%", "!"))]
            yield from ast.parse("\n".join(lines)).body


def _run(node, names):
    """Run an import, a definition, or an assignment of plain values: was it one, and did it run?"""
    if isinstance(node, ast.Assign):
        try:
            ast.literal_eval(node.value)
        except ValueError:
            return False
    elif isinstance(node, ast.Import | ast.ImportFrom):
        modules = [getattr(node, "module", None), *(alias.name for alias in node.names)]
        if any(module and module.startswith(NOT_THERE) for module in modules):
            return False
    elif not isinstance(node, ast.FunctionDef):
        return False
    try:
        exec(compile(ast.Module([node], []), "<lesson>", "exec"), names)
    except Exception:  # such as an annotation with a name that only a run would set
        return False
    return True
