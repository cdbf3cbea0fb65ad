"""`vqlearn batch`: a folder of images that can be stopped, shared and taken up again."""

import json
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.command import run_command

from vqlearn.cli import many
from vqlearn.cli.many import jobs_of, read_prompts
from vqlearn.data import ImageFolder
from vqlearn.pipeline import load_pipeline
from vqlearn.probability import Sampling

PROMPTS = ["a large red circle", "a small blue square", "a large green ring"]
STEPS = ["--steps", 2]
MODEL = ("scenes", None, None)


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
    """In float64, where rounding decides no token: as the call draws it alone."""
    folder, exact = file.parent / "images", ["--dtype", "float64", "--device", "cpu"]
    code, stdout, stderr = run(monkeypatch, capsys, file, "--images", 2, "--seed", 5, *exact)
    assert (code, stdout) == (0, "images\n"), stderr
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [prompt for prompt in PROMPTS for _ in range(2)]
    assert [line["seed"] for line in lines] == list(range(5, 11))
    pipeline = load_pipeline("scenes").to(torch.float64)
    for line in lines:
        generator = torch.Generator().manual_seed(line["seed"])
        (alone,) = pipeline(line["text"], 2, 1.5, 0.9, noise="fast", generator=generator).images
        with Image.open(folder / line["file_name"]) as image:
            assert image.tobytes() == alone.tobytes()
    assert len({(folder / line["file_name"]).read_bytes() for line in lines}) == 6
    again = [file, "--images", 2, "--seed", 5, "--batch-size", 4, "--out", "again", *exact]
    assert run(monkeypatch, capsys, *again)[0] == 0
    assert contents(folder) == contents(file.parent / "again")


def test_the_folder_can_be_trained_on(file, monkeypatch, capsys):
    run(monkeypatch, capsys, file)
    source = ImageFolder(file.parent / "images", 32)
    assert source.captions() == PROMPTS
    assert len(source.images) == 3


def test_only_what_is_missing_or_empty_is_made(file, monkeypatch, capsys):
    run(monkeypatch, capsys, file)
    folder = file.parent / "images"
    before = contents(folder)
    (folder / "000001.png").unlink()
    (folder / "000002.png").write_bytes(b"")
    (folder / ".part-000001.png").write_bytes(b"what a kill has left")
    made, write = [], many.write_images

    def watched(pipeline, jobs, *how):
        made.extend(jobs)
        write(pipeline, jobs, *how)

    monkeypatch.setattr(many, "write_images", watched)
    assert run(monkeypatch, capsys, file)[0] == 0
    assert [job.file_name for job in made] == ["000001.png", "000002.png"]
    (folder / ".part-000001.png").unlink(missing_ok=True)
    assert contents(folder) == before


@pytest.mark.parametrize("stopped_in", ["write_json", "write_text", "write_images"])
def test_a_command_that_was_stopped_anywhere_goes_on(file, monkeypatch, capsys, stopped_in):
    whole = [file, "--out", "whole", "--batch-size", 2]
    assert run(monkeypatch, capsys, *whole)[0] == 0
    calls, true = [], getattr(many, stopped_in)

    def stops(*arguments):
        calls.append(arguments)
        if len(calls) == (2 if stopped_in == "write_images" else 1):
            raise KeyboardInterrupt
        return true(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(many, stopped_in, stops)
        assert run(patch, capsys, file, "--batch-size", 2)[0] == 130
    assert run(monkeypatch, capsys, file, "--batch-size", 2)[0] == 0
    assert contents(file.parent / "images") == contents(file.parent / "whole")


def test_a_folder_with_other_files_is_refused(file, monkeypatch, capsys):
    """An image of that number would count as made."""
    (file.parent / "images").mkdir()
    (file.parent / "images" / "000000.png").write_bytes(b"mine")
    code, _, stderr = run(monkeypatch, capsys, file)
    assert code == 1
    assert "which holds '000000.png' and no batch.json; allowed: a new folder" in stderr
    assert contents(file.parent / "images") == {"000000.png": b"mine", ".lock": b""}


@pytest.mark.parametrize("damage", ["", "[]", "{"])
def test_damaged_choices_are_named(file, monkeypatch, capsys, damage):
    run(monkeypatch, capsys, file)
    (file.parent / "images" / "batch.json").write_text(damage)
    code, _, stderr = run(monkeypatch, capsys, file)
    assert code == 1
    assert "batch.json is damaged; allowed: as it was written, or a new folder" in stderr


def test_two_commands_in_one_folder_are_kept_apart(file, monkeypatch, capsys):
    (file.parent / "images").mkdir()
    with FileLock(file.parent / "images" / ".lock"):
        code, _, stderr = run(monkeypatch, capsys, file)
    assert code == 1
    assert "in which another command works" in stderr


def test_what_cannot_be_used_leaves_nothing_behind(file, monkeypatch, capsys):
    for options in (["--steps", 101], ["--dtype", "int8"], ["--device", "tpu"]):
        code, _, stderr = run_command(monkeypatch, capsys, "batch", file, *options)
        assert code == 1, options
        assert options[0].strip("-") in stderr
    assert not contents(file.parent / "images")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--guidance", 2], "guidance_scale"),
        (["--truncation", 0.5], "truncation_rate"),
        (["--steps", 3], "num_inference_steps"),
        (["--dtype", "float64"], "dtype"),
        (["--seed", 1], "prompts and seeds"),
        (["--images", 2], "prompts and seeds"),
    ],
)
def test_a_folder_of_other_images_is_refused_and_kept(file, monkeypatch, capsys, options, named):
    run(monkeypatch, capsys, file)
    before = contents(file.parent / "images")
    code, _, stderr = run_command(monkeypatch, capsys, "batch", file, *STEPS, *options)
    assert code == 1
    assert f"holds images of other {named}; allowed: a new folder" in stderr
    assert contents(file.parent / "images") == before


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """What each of so many processes makes of some jobs, one process after the other."""
    pipeline = load_pipeline("scenes")
    monkeypatch.setattr(many, "open_text_model", lambda *_: pipeline)
    monkeypatch.setattr(many, "in_main_process", lambda accelerator, work: work())

    def of(jobs, count):
        made = []
        monkeypatch.setattr(many, "write_images", lambda _, jobs, *how: made.append(jobs))
        for index in range(count):
            accelerator = SimpleNamespace(
                process_index=index,
                num_processes=count,
                is_main_process=index == 0,
                device=torch.device("cpu"),
                wait_for_everyone=lambda: None,
            )
            monkeypatch.setattr(many, "best_accelerator", lambda one=accelerator: one)
            many.make_images(MODEL, jobs, tmp_path, lambda _: Sampling(1.5, 0.9, 2), 100)
        return made

    return of


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_the_work_and_later_what_is_missing(parts, tmp_path, count):
    """Each makes its own images; together they make each once. Nobody waits long for another."""
    jobs = jobs_of([f"prompt {i}" for i in range(7)], 2, 0)
    for there in ([], jobs[::count], jobs[1::count]):
        for path in tmp_path.glob("*.png"):
            path.unlink()
        for job in there:
            (tmp_path / job.file_name).write_bytes(b"made")
        made = parts(jobs, count)
        assert len(made) == count
        assert max(map(len, made)) - min(map(len, made)) <= 1
        assert sorted(job.seed for part in made for job in part) == [
            job.seed for job in jobs if job not in there
        ]


@pytest.mark.parametrize(
    ("name", "content", "prompts"),
    [
        ("a.jsonl", '{"text": " ä b ", "file_name": "x.png"}\n\n{"text": "c"}\n', ["ä b", "c"]),
        ("a.JSONL", '{"text": "c"}', ["c"]),
        ("a.txt", "\ufeffone\r\n\r\n two \r\none", ["one", "two", "one"]),
    ],
)
def test_prompts_are_read(tmp_path, name, content, prompts):
    (tmp_path / name).write_bytes(content.encode())
    assert read_prompts(tmp_path / name) == prompts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good\n\xff\xfe bad\n", "a.txt line 2 is "),
        ("a.txt", b"\n \n", "a.txt has no prompt; allowed: one a line"),
        ("a.jsonl", b'{"text": "x"}\nno json', 'line 2 is \'no json\'; allowed: {"text": "a pr'),
        ("a.jsonl", b'{"caption": "x"}', "line 1 is "),
        ("a.jsonl", b'{"text": 5}', "line 1 is "),
        ("a.jsonl", b"[1]", "line 1 is "),
        ("a.jsonl", b'{"text": "\\ud800"}', "line 1 is "),
        ("a.jsonl", b"[" * 100_000, "line 1 is "),
        ("a.json", b"{}", "PROMPTS is 'a.json'; allowed: a file *.txt or *.jsonl"),
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
