"""`vqlearn batch`: a folder of images that can be stopped, shared and taken up again."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command

from vqlearn.cli import many
from vqlearn.cli.many import jobs_of, read_prompts
from vqlearn.data import ImageFolder
from vqlearn.pipeline import load_pipeline

PROMPTS = ["a large red circle", "a small blue square", "a large green ring"]
STEPS = ["--steps", 2]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("\n\n".join(PROMPTS) + "\n", encoding="utf-8")
    yield tmp_path / "prompts.txt"
    forget_accelerate()


def run(monkeypatch, capsys, *arguments):
    return run_command(monkeypatch, capsys, "batch", *arguments, *STEPS)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_image_is_that_of_its_prompt_and_seed(file, monkeypatch, capsys):
    """However many are generated together, and as the call draws it alone."""
    folder = file.parent / "images"
    code, stdout, stderr = run(monkeypatch, capsys, file, "--images", 2, "--seed", 5)
    assert (code, stdout) == (0, "images\n"), stderr
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert [line["seed"] for line in lines] == list(range(5, 11))
    pipeline = load_pipeline("scenes")
    for line in lines:
        generator = torch.Generator().manual_seed(line["seed"])
        (alone,) = pipeline(line["text"], 2, 1.5, 0.9, noise="fast", generator=generator).images
        with Image.open(folder / line["file_name"]) as image:
            assert image.tobytes() == alone.tobytes()
    assert len({(folder / line["file_name"]).read_bytes() for line in lines}) == 6
    again = [file, "--images", 2, "--seed", 5, "--batch-size", 4, "--out", "again"]
    assert run(monkeypatch, capsys, *again)[0] == 0
    assert contents(folder) == contents(file.parent / "again")


def test_the_folder_can_be_trained_on(file, monkeypatch, capsys):
    run(monkeypatch, capsys, file)
    source = ImageFolder(file.parent / "images", 32)
    assert source.captions() == PROMPTS
    assert len(source.images) == 3


def test_only_what_is_missing_is_made(file, monkeypatch, capsys):
    run(monkeypatch, capsys, file)
    folder = file.parent / "images"
    before = contents(folder)
    (folder / "000001.png").unlink()
    kept = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    made, write = [], many.write_images

    def watched(pipeline, jobs, *how):
        made.extend(jobs)
        write(pipeline, jobs, *how)

    monkeypatch.setattr(many, "write_images", watched)
    assert run(monkeypatch, capsys, file)[0] == 0
    assert [job.file_name for job in made] == ["000001.png"]
    assert contents(folder) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    monkeypatch.setattr(many, "open_model", None)  # nothing is missing: no model is needed
    assert run(monkeypatch, capsys, file)[0] == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--guidance", 2], "guidance_scale"),
        (["--truncation", 0.5], "truncation_rate"),
        (["--steps", 3], "num_inference_steps"),
        (["--dtype", "float64"], "dtype"),
        (["--seed", 1], "prompts or seeds"),
        (["--images", 2], "prompts or seeds"),
    ],
)
def test_a_folder_of_other_images_is_refused_and_kept(file, monkeypatch, capsys, options, named):
    run(monkeypatch, capsys, file)
    before = contents(file.parent / "images")
    code, _, stderr = run_command(monkeypatch, capsys, "batch", file, *STEPS, *options)
    assert code == 1
    assert f"holds images of other {named}; allowed: a new folder" in stderr
    assert contents(file.parent / "images") == before


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_work(tmp_path, monkeypatch, count):
    """Each makes its own images; together they make each once."""
    made = []
    monkeypatch.setattr(many, "write_images", lambda _, jobs, *how: made.append(jobs))
    jobs = jobs_of([f"prompt {i}" for i in range(7)], 2, 0)
    for index in range(count):
        state = SimpleNamespace(
            process_index=index,
            num_processes=count,
            is_main_process=index == 0,
            device=torch.device("cpu"),
            main_process_first=nullcontext,
            wait_for_everyone=lambda: None,
        )
        monkeypatch.setattr(many, "PartialState", lambda state=state: state)
        many.make_images(("scenes", None), jobs, tmp_path, many.Sampling(1.5, 0.9, 2), 100)
    assert len(made) == count
    assert max(map(len, made)) - min(map(len, made)) <= 1
    names = [job.file_name for part in made for job in part]
    assert sorted(names) == [job.file_name for job in jobs]


def test_prompts_of_a_jsonl_file(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"text": "ä b", "file_name": "x.png"}\n\n{"text": "c"}\n', encoding="utf-8")
    assert read_prompts(file) == ["ä b", "c"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good\n\xff\xfe bad\n", "a.txt line 2 is "),
        ("a.txt", b"\n \n", "a.txt has no prompt; allowed: one a line"),
        ("a.jsonl", b'{"text": "x"}\nno json', 'line 2 is \'no json\'; allowed: {"text": "a pr'),
        ("a.jsonl", b'{"caption": "x"}', "line 1 is "),
        ("a.jsonl", b'{"text": 5}', "line 1 is "),
        ("a.jsonl", b"[1]", "line 1 is "),
    ],
)
def test_what_is_no_prompt_is_named(tmp_path, monkeypatch, capsys, name, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    code, _, stderr = run(monkeypatch, capsys, name)
    assert code == 1
    assert message in stderr
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.txt"], "PROMPTS is 'none.txt'; allowed: a file of prompts"),
        (["prompts.txt", "--images", 0], "--images is 0; allowed: 1 or more"),
        (["prompts.txt", "--batch-size", 0], "--batch-size is 0; allowed: 1 or more"),
        (["prompts.txt", "--images", 1_000_000], "the number of images is 3000000"),
        (["prompts.txt", "--model", "no_such"], "there is no folder 'no_such'"),
    ],
)
def test_options_that_mean_nothing_are_refused(file, monkeypatch, capsys, options, message):
    code, _, stderr = run(monkeypatch, capsys, *options)
    assert code == 1
    assert message in stderr
