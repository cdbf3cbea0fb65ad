"""The shape of the package: imports flow one way, importing is quick, the README is true."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vqlearn
from vqlearn.lessons import code_map
from vqlearn.lessons.marks import between

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vqlearn"
FLOORS = {  # what the files of each room may import from vqlearn, besides the room itself
    "storage": set(),
    "probability": set(),
    "tokens": {"probability"},
    "text": {"probability"},
    "diffusion": {"probability"},
    "transformer": {"probability", "diffusion"},
    "continuous": {"probability", "diffusion"},
    "autoregressive": {"probability", "diffusion", "transformer"},
    "data": {"probability", "storage"},
    "checkpoints": {
        *("storage", "probability", "tokens", "text", "diffusion", "transformer"),
        "autoregressive",
    },
    "released": {
        *("storage", "probability", "tokens", "text", "diffusion", "transformer", "checkpoints"),
    },
    "pipeline": {
        *("storage", "probability", "tokens", "text", "diffusion", "transformer", "checkpoints"),
    },
    "training": {
        *("storage", "probability", "tokens", "text", "diffusion", "transformer", "continuous"),
        *("autoregressive", "data", "checkpoints"),
    },
    "evaluation": {
        *("probability", "text", "diffusion", "transformer", "data", "pipeline"),
    },
    "experiments": {
        *("storage", "probability", "tokens", "text", "diffusion", "transformer", "continuous"),
        *("autoregressive", "data", "checkpoints", "pipeline", "training", "evaluation"),
        "released",
        "lessons",  # marks: where a page is written
    },
    "course": {"probability", "storage"},
    "challenge": {
        *("storage", "probability", "diffusion", "data", "pipeline", "evaluation", "course"),
    },
    "lessons": {"probability", "diffusion", "pipeline", "course"},
    "cli": {
        *("storage", "probability", "tokens", "diffusion", "checkpoints", "pipeline", "training"),
        *("data", "evaluation", "course", "challenge", "released"),
    },
    "__main__": {"cli"},
    "__init__": set(),
}


def imported_modules(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module


def package_files():
    return sorted(PACKAGE.rglob("*.py"))


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", package_files(), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_flow_one_way(file):
    room = room_of(file)
    for module in imported_modules(file):
        parts = module.split(".")
        if parts[0] == "vqlearn":
            if len(parts) > 1:
                assert parts[1] in FLOORS[room] | {room}, f"{room} imports {module}"
            else:
                assert file.name == "__init__.py", f"{file} imports from the package's face"
        assert parts[0] != "matplotlib" or room in ("experiments", "lessons", "course")


def test_the_oracle_is_independent_of_what_it_checks():
    modules = set(imported_modules(PACKAGE / "diffusion" / "exact" / "oracle.py"))
    assert modules == {"collections.abc", "fractions"}


def test_reference_code_is_for_tests_only():
    compares = (
        PACKAGE / "cli" / "verify.py"
    )  # a user may have diffusers, and then it is compared with
    for file in [file for file in package_files() if file != compares]:
        assert "diffusers" not in {name.split(".")[0] for name in imported_modules(file)}


def test_importing_vqlearn_imports_no_heavy_library():
    code = (
        "import sys, vqlearn; print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_public_name_can_be_imported_and_others_cannot():
    for name in vqlearn.__all__:
        assert getattr(vqlearn, name).__name__ == name
    assert set(vqlearn.__all__) <= set(dir(vqlearn))
    with pytest.raises(AttributeError, match="no_such_thing"):
        vqlearn.no_such_thing  # noqa: B018


def rooms():
    return [file for file in package_files() if file.name == "__init__.py"]


@pytest.mark.parametrize("room", rooms(), ids=lambda f: str(f.parent.relative_to(PACKAGE.parent)))
def test_no_public_name_of_a_room_is_that_of_one_of_its_files(room):
    """Importing the file would put the module in the place of what the room promises."""
    module = ".".join(("vqlearn", *room.parent.relative_to(PACKAGE).parts))
    names = set(getattr(importlib.import_module(module), "__all__", ()))
    parts = {path.stem for path in room.parent.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert not names & parts


def test_files_and_functions_are_short():
    for file in package_files():
        assert len(file.read_text().splitlines()) <= 300, file
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 60, f"{file}: {node.name}"


def test_every_dataclass_is_frozen():
    """What was checked when it was made stays as it was checked."""
    for file in package_files():
        for node in ast.walk(ast.parse(file.read_text())):
            for decorator in getattr(node, "decorator_list", ()):
                if "dataclass" in ast.unparse(decorator):
                    assert "frozen=True" in ast.unparse(decorator), f"{file}: {node.name}"


def test_readme_names_only_files_commands_and_pictures_that_exist():
    readme = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z][a-z-]*)", readme):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_map_of_the_code_is_that_of_the_docstrings():
    assert between(code_map.PAGE, code_map.MARK) == code_map.code_map(), "run `make map`"


def test_every_file_says_in_one_sentence_what_it_is():
    for file in package_files():
        if file.name != "__main__.py":
            assert code_map._summary(file), file


def test_all_files_of_the_package_are_installed():
    """Those that are no Python, but for the page that is for readers of the repository."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = [path for glob in patterns["package-data"]["vqlearn"] for path in PACKAGE.glob(glob)]
    there = {file for file in PACKAGE.rglob("*") if file.is_file()}
    needed = {file for file in there if file.suffix not in (".py", ".pyc")}
    assert needed - set(listed) == {PACKAGE / "README.md"}
