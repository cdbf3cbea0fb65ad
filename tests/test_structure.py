"""The shape of the package: imports flow one way, importing is quick, the README is true."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vqlearn

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "vqlearn"
FLOORS = {  # what the files of each room may import from vqlearn, besides the room itself
    "tokens": set(),
    "diffusion": set(),
    "transformer": set(),
    "continuous": {"diffusion"},
    "autoregressive": {"diffusion", "transformer"},
    "data": set(),
    "checkpoints": {"tokens", "diffusion", "transformer"},
    "arguments": {"diffusion"},
    "pipeline": {"tokens", "diffusion", "transformer", "checkpoints", "arguments"},
    "training": {
        *("tokens", "diffusion", "transformer", "continuous", "autoregressive"),
        *("data", "checkpoints"),
    },
    "text_probe": {"transformer", "data"},
    "evaluate": {"diffusion", "transformer", "data", "pipeline", "text_probe"},
    "grid": set(),
    "film": {"pipeline", "grid"},
    "figures": {
        *("diffusion", "autoregressive", "transformer", "data", "training"),
        *("pipeline", "film", "evaluate", "checkpoints"),
    },
    "face_off": {
        *("tokens", "diffusion", "transformer", "autoregressive", "data", "checkpoints"),
        *("training", "pipeline", "evaluate", "figures"),
    },
    "lessons": set(),
    "doctor": {"checkpoints"},
    "verify": {"diffusion", "checkpoints", "pipeline", "doctor"},
    "cli": {
        *("pipeline", "training", "evaluate", "checkpoints", "grid", "film"),
        *("doctor", "verify"),
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
            assert len(parts) > 1, f"{file} imports from the package's face"
            assert parts[1] in FLOORS[room] | {room}, f"{room} imports {module}"
        assert parts[0] != "matplotlib" or room in ("figures", "face_off")


def test_the_oracle_is_independent_of_what_it_checks():
    modules = set(imported_modules(PACKAGE / "diffusion" / "oracle.py"))
    assert modules == {"collections.abc", "fractions"}


def test_reference_code_is_for_tests_only():
    compares = PACKAGE / "verify.py"  # a user may have diffusers, and then it is compared with
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


def test_files_and_functions_are_short():
    for file in package_files():
        assert len(file.read_text().splitlines()) <= 300, file
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 60, f"{file}: {node.name}"


def test_readme_names_only_files_commands_and_pictures_that_exist():
    readme = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), link
    tree = readme.split("```text")[1].split("```")[0]
    for entry in re.findall(r"^(?:│   |    )*[├└]── (\S+)", tree, flags=re.MULTILINE):
        name = entry.rstrip("/")
        assert list(ROOT.glob(f"{name}")) or list(PACKAGE.rglob(name)), name
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z][a-z-]*)", readme):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_package_file_stands_in_the_readme_tree():
    tree = (ROOT / "README.md").read_text().split("```text")[1].split("```")[0]
    for file in package_files():
        if file.name not in ("__init__.py", "__main__.py"):
            assert f"── {file.name} " in tree, file
