"""The command starts quickly: what it does not need is not imported. No test looks at a clock."""

import json
import subprocess
import sys

import pytest
from support.tiny import write_diffusers_folder

NOT_NEEDED = (
    *("diffusers", "torchmetrics", "sklearn", "matplotlib", "pandas", "IPython", "torchvision"),
    *("PIL.TiffImagePlugin", "PIL.WebPImagePlugin"),  # Pillow has forty formats
    *("vqlearn.training.loop", "vqlearn.training.stages", "vqlearn.course", "vqlearn.experiments"),
)


def modules_after(*arguments):
    """The modules that `vqlearn ARGUMENTS` has imported, in a process of its own."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n"
        f"sys.argv = ['vqlearn', *{[str(each) for each in arguments]!r}]\n"
        "from vqlearn.cli import main\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]])
def test_help_imports_no_heavy_library(arguments):
    found = modules_after(*arguments)
    assert "vqlearn.cli.commands" in found
    assert not found & {"torch", "transformers", "numpy", "PIL", "accelerate", "huggingface_hub"}


def test_generate_imports_nothing_that_it_does_not_need(tmp_path):
    model = write_diffusers_folder(tmp_path / "model")
    options = ["--model", model, "--steps", 2, "--out", tmp_path / "image.png"]
    found = modules_after("generate", "a red circle", *options)
    assert (tmp_path / "image.png").is_file()
    assert "torch" in found
    assert not found & set(NOT_NEEDED)


def frozen_at_the_end_of(*arguments):
    """Whether Python leaves out its last search for garbage after `vqlearn ARGUMENTS`."""
    code = (
        "import atexit, gc, sys\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 10_000))\n"
        f"sys.argv = ['vqlearn', *{[str(each) for each in arguments]!r}]\n"
        "from vqlearn.cli import main\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return run.stdout.splitlines()[-1] == "True"


def test_python_does_not_search_all_modules_for_garbage_at_the_end(tmp_path):
    assert frozen_at_the_end_of("generate", "a", "--steps", 1, "--out", tmp_path / "image.png")


def test_after_a_training_what_several_processes_share_is_cleaned_up(tmp_path):
    """Also where it fails: a process that ends with threads of others alive is aborted."""
    arguments = ["train", "diffusion", "--data", tmp_path / "none", "--out", tmp_path / "out"]
    assert not frozen_at_the_end_of(*arguments)
