"""Work is not lost, and no folder gets stuck."""

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
from accelerate import Accelerator
from faults import fuzz_training
from faults.fuzz_checkpoints import fingerprint
from PIL import Image
from support.accelerate_state import forget_accelerate
from support.tiny import write_diffusers_folder
from support.training import (
    SIX_STEPS,
    make_small,
    short_task,
    stopped_training,
    train_stages,
    use_small_networks,
)

from vqlearn import CheckpointError, TextToImagePipeline, VQDiffusionPipeline
from vqlearn.checkpoints import HubOptions
from vqlearn.checkpoints import folder as files
from vqlearn.cli import commands, outputs
from vqlearn.pipeline import save_gif
from vqlearn.storage import disk_errors
from vqlearn.training import Interrupted, fit
from vqlearn.training.processes import alone_in
from vqlearn.training.stages import order


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the precision of its first user for the whole process."""
    yield
    forget_accelerate()


# C1 ------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def stopped_at(monkeypatch, count, error=Killed):
    """The `count`-th file cannot be flushed to the disk; who is killed does not tidy up either."""
    flushed, real = [], os.fsync

    def fsync(descriptor):
        flushed.append(descriptor)
        if len(flushed) < count:
            return real(descriptor)
        if error is Killed:
            monkeypatch.setattr(shutil, "rmtree", lambda *a, **options: None)
            monkeypatch.setattr("pathlib.Path.unlink", lambda *a, **options: None)
        raise error

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("count", [1, 8, 13, 14, 20, 25, 26])
def test_a_save_that_is_killed_leaves_the_old_the_new_or_no_checkpoint(checkpoint, count, tmp_path):
    old = VQDiffusionPipeline.from_pretrained(checkpoint)
    old.save_pretrained(checkpoint)
    new = VQDiffusionPipeline.from_pretrained(checkpoint)
    new.null_text.embeddings.data += 1
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, count)
        with suppress(Killed):
            new.save_pretrained(checkpoint)
    if (checkpoint / "model_index.json").exists():
        seen = fingerprint(VQDiffusionPipeline.from_pretrained(checkpoint))
        assert seen in (fingerprint(old), fingerprint(new))
    else:
        with pytest.raises(CheckpointError, match=r"no file .*model_index\.json"):
            VQDiffusionPipeline.from_pretrained(checkpoint)
    new.save_pretrained(checkpoint)  # what was left lying about is in nobody's way
    assert fingerprint(VQDiffusionPipeline.from_pretrained(checkpoint)) == fingerprint(new)
    assert not list(checkpoint.rglob(".part-*"))


def test_a_full_disk_leaves_the_old_checkpoint(checkpoint):
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint)
    before = fingerprint(pipeline)
    pipeline.null_text.embeddings.data += 1
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 1, OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space left"):
            pipeline.save_pretrained(checkpoint)
    assert fingerprint(VQDiffusionPipeline.from_pretrained(checkpoint)) == before
    assert not list(checkpoint.rglob(".part-*"))


@pytest.mark.parametrize("part", ["vqvae", "transformer", "text_encoder", "tokenizer", "scheduler"])
def test_the_marker_of_a_part_is_whole_or_not_there(checkpoint, tmp_path, part):
    """A kill before any flush: no config, no tokenizer.json, that a later run would trust."""
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint)
    if part in ("text_encoder", "tokenizer"):
        save, thing = files.save_text_encoder, pipeline.text_encoder
    else:
        save, thing = files.save_network, pipeline.vqvae if part == "vqvae" else pipeline.model
    with pytest.MonkeyPatch.context() as patch:
        stopped_at(patch, 1)
        with pytest.raises(Killed):
            save(thing, tmp_path / "new")
    markers = ("config.json", "tokenizer.json", "scheduler_config.json")
    assert not [name for name in markers if (tmp_path / "new" / part / name).exists()]


def small_stage(name, folder):
    """One step of a stage with small networks; the others are there."""
    recipe = replace(SIX_STEPS, steps=1, batch_size=2, learning_rate=1e-3)
    return train_stages(folder, {name: recipe}, image_size=16)


def test_an_empty_or_broken_marker_is_not_a_finished_stage(tmp_path, monkeypatch):
    """As older versions could leave it: each stage is trained again, and gives the same bytes."""
    make_small(monkeypatch.setattr)
    for name in order.VQ_DIFFUSION:
        assert small_stage(name, tmp_path) == []
    whole = (tmp_path / "SHA256SUMS").read_text()
    for name, text in (("diffusion", ""), ("diffusion", "\0\0"), ("diffusion", "\n")):
        (tmp_path / "SHA256SUMS").write_text(text)
        assert small_stage(name, tmp_path) == [], repr(text)
        assert (tmp_path / "SHA256SUMS").read_text() == whole
    for name, marker in MARKERS:
        for text in ("", '{"_class_name": "VQM', "\0\0\0"):
            (tmp_path / "SHA256SUMS").unlink(missing_ok=True)
            (tmp_path / marker).write_text(text)
            assert small_stage(name, tmp_path) == [], (name, text)
            assert small_stage(name, tmp_path) == [name]
    assert small_stage("diffusion", tmp_path) == ["diffusion"]
    assert (tmp_path / "SHA256SUMS").read_text() == whole


MARKERS = [
    ("tokens", "vqvae/config.json"),
    ("text", "tokenizer/tokenizer.json"),
    ("diffusion", "transformer/config.json"),
]


def test_states_of_a_finished_stage_are_deleted(tmp_path, monkeypatch):
    """A kill between the last file of the result and the end leaves them."""
    make_small(monkeypatch.setattr)
    small_stage("tokens", tmp_path)
    (tmp_path / ".training" / "tokens" / "4").mkdir(parents=True)
    assert small_stage("tokens", tmp_path) == ["tokens"]
    assert not (tmp_path / ".training" / "tokens").exists()


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "an empty marker", "half a file"])
def test_a_part_that_was_half_copied_is_copied_again(tmp_path, there):
    old, new = tmp_path / "old", tmp_path / "new" / "vqvae"
    (old / "vqvae").mkdir(parents=True)
    (old / "vqvae" / "config.json").write_text('{"a": 1}')
    (old / "vqvae" / "weights").write_text("weights")
    if there != "nothing":
        new.mkdir(parents=True)
    if there == "an empty marker":
        (new / "config.json").touch()
    if there == "half a file":
        (new / "weights").write_text("wei")
    order.copy_frozen_parts(old, tmp_path / "new")
    assert {file.name: file.read_text() for file in new.iterdir()} == {
        "config.json": '{"a": 1}',
        "weights": "weights",
    }
    assert [path.name for path in new.parent.iterdir()] == ["vqvae"]
    (old / "vqvae" / "weights").write_text("others")
    order.copy_frozen_parts(old, tmp_path / "new")
    assert (new / "weights").read_text() == "weights"  # what is whole is kept


@pytest.mark.parametrize("part", ["vqvae", "model", "text_encoder"])
def test_digests_go_before_a_part_changes(checkpoint, part):
    """So a kill between parts leaves a checkpoint without digests, not one that seems damaged."""
    pipeline = VQDiffusionPipeline.from_pretrained(checkpoint)
    pipeline.save_pretrained(checkpoint)
    assert (checkpoint / "SHA256SUMS").exists()
    save = files.save_text_encoder if part == "text_encoder" else files.save_network
    save(getattr(pipeline, part), checkpoint)
    assert not (checkpoint / "SHA256SUMS").exists()
    files.finish(checkpoint)
    assert fingerprint(VQDiffusionPipeline.from_pretrained(checkpoint)) == fingerprint(pipeline)


# C2 ------------------------------------------------------------------------------


def fail_at(monkeypatch, call, code=errno.ENOSPC):
    """The so-manieth file or folder cannot be brought to the disk."""
    left, fsync = [call], os.fsync

    def failing(number):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(code, os.strerror(code))
        fsync(number)

    monkeypatch.setattr(os, "fsync", failing)


def trained(folder, at=lambda step: None):
    return [weight.tolist() for weight in fit("short", short_task(folder, at)).parameters()]


@pytest.mark.parametrize("call", range(1, 13))
def test_without_room_for_a_state_the_one_before_stays(tmp_path, monkeypatch, call):
    expected = trained(tmp_path / "whole")
    with monkeypatch.context() as patch:
        fail_at(patch, call)
        with pytest.raises(
            OSError, match=r"cannot be written to .*No space left on device"
        ) as told:
            trained(tmp_path / "full")
    assert len(str(told.value)) <= 400
    names = [path.name for path in (tmp_path / "full" / ".training" / "short").iterdir()]
    assert all(name.isdecimal() for name in names)
    assert (f"that of step {max(names)} stays" if names else "none yet") in str(told.value)
    assert trained(tmp_path / "full") == expected


def test_an_error_of_the_disk_is_an_oserror_whichever_library_meets_it(tmp_path):
    for message in ("I/O error: No space left on device (os error 28)", "(os error 28)"):
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'") as told:
            with disk_errors(tmp_path):
                raise Exception(message)
        assert told.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=f"Disk quota exceeded: '{tmp_path}'"), disk_errors(tmp_path):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")  # no file is named
    with pytest.raises(OSError, match="'another'"), disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", "another")
    with pytest.raises(KeyError, match="another"), disk_errors(tmp_path):
        raise KeyError("another")


@pytest.fixture
def disk(tmp_path):
    """Makes a file system of so many bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def make(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system may be mounted here")
        return folder

    if not shutil.which("mount"):
        pytest.skip("there is no command to mount a file system")
    yield make
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(tmp_path, disk):
    """There is room for one state and a half."""
    expected = trained(tmp_path / "whole")
    (state,) = stopped_training(tmp_path / "one").iterdir()
    pages = sum(-(-file.stat().st_size // 4096) for file in state.iterdir())
    folder = disk(size=4096 * (pages + pages // 2 + 1))
    with pytest.raises(OSError, match=r"state of step 4 .*No space left.*of step 2 stays"):
        trained(folder)
    assert [path.name for path in (folder / ".training" / "short").iterdir()] == ["2"]
    shutil.copytree(folder, tmp_path / "larger")
    assert trained(tmp_path / "larger") == expected


def test_stages_without_room_and_stages_that_are_killed_lose_nothing(monkeypatch):
    """All stages, broken off in turn; `make soak` does it a hundred times."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for breaking_off, count in ((fuzz_training.kills, 10), (fuzz_training.full_disks, 8)):
        expected = {"tried": count, "survived": count, "lost": 0, "foreign": 0}
        assert breaking_off(count, seed=0) == expected


# C3 ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C counts, also where a shell started the tests in the background and had it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def signalled(*numbers, step=2):
    """What a step does in which these signals arrive."""

    def at(now):
        if now == step:
            for number in numbers:
                signal.raise_signal(number)

    return at


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_ends_its_step_and_saves(tmp_path, number, code):
    expected, before = trained(tmp_path / "whole"), signal.getsignal(number)
    with pytest.raises(
        KeyboardInterrupt, match=r"short: stopped at step 3 of 6, .*goes on"
    ) as told:
        trained(tmp_path / "stopped", signalled(number))
    assert told.value.exit_code == code
    assert signal.getsignal(number) is before
    states = tmp_path / "stopped" / ".training" / "short"
    assert [path.name for path in states.iterdir()] == ["3"]
    assert trained(tmp_path / "stopped") == expected


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_stops_at_once(tmp_path, first):
    with pytest.raises(KeyboardInterrupt) as told:
        trained(tmp_path, signalled(first, signal.SIGINT))
    assert not isinstance(told.value, Interrupted)
    states = tmp_path / ".training" / "short"
    assert [path.name for path in states.iterdir()] == ["2"]


def test_a_second_sigterm_changes_nothing(tmp_path):
    """Some launchers send it to a process and to its group."""
    with pytest.raises(Interrupted):
        trained(tmp_path, signalled(signal.SIGTERM, signal.SIGTERM))


def test_an_interrupt_in_the_last_step_is_not_lost(tmp_path):
    with pytest.raises(Interrupted, match="stopped at step 6 of 6"):
        trained(tmp_path / "stopped", signalled(signal.SIGINT, step=5))
    assert trained(tmp_path / "stopped") == trained(tmp_path / "whole")


def test_signals_that_are_ignored_stay_so(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trained(tmp_path, signalled(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_training_outside_the_main_thread_sets_no_handlers(tmp_path):
    with ThreadPoolExecutor() as pool:
        assert pool.submit(trained, tmp_path).result() == trained(tmp_path / "other")


def test_the_processes_that_load_batches_do_not_die_of_a_signal(tmp_path):
    """Ctrl-C reaches the whole group."""
    task = short_task(tmp_path, lambda step: step == 3 and interrupt_all())
    task.run = replace(task.run, workers=1)

    def interrupt_all():
        for child in psutil.Process().children():
            child.send_signal(signal.SIGINT)
            child.send_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.2)

    with pytest.raises(Interrupted, match="stopped at step 4 of 6"):
        fit("short", task)


@pytest.mark.parametrize("command", ["doctor", "train"])
@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "vqlearn: stopped\n"),
        (Interrupted("tokens: stopped at step 3", signal.SIGTERM), 143, "vqlearn: tokens: stopped"),
        (Interrupted("", signal.SIGINT), 130, ""),
    ],
)
def test_every_interrupted_command_says_so(
    tmp_path, monkeypatch, capsys, command, error, code, told
):
    def interrupted(*arguments, **options):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vqlearn.cli.doctor.examine", interrupted)
    monkeypatch.setattr("vqlearn.training.stages.order.open_source", interrupted)
    monkeypatch.setattr(sys, "argv", ["vqlearn", command])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(told)
    assert shown.err.count("\n") == bool(told)


def test_all_processes_of_a_training_stop_at_one_step_and_go_on(tmp_path):
    """SIGTERM to the launcher of two; then the same command."""
    script = tmp_path / "both.py"
    script.write_text(
        "import sys\n"
        "from support.training import make_small\n"
        "from vqlearn.cli.commands import main\n"
        "make_small()\n"
        "sys.argv[0] = 'vqlearn'\n"
        "main()\n"
    )
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), "train"]
    size = ["--image-size", "16", "--batch-size", "2", "--out", str(tmp_path / "out"), "--steps"]
    command = [sys.executable, "-m", *launch, "tokens", *size]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TQDM_DISABLE": "1",
    }
    states = tmp_path / "out" / ".training" / "tokens"
    options = {"env": environment, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen([*command, "100000", "--save-every", "5"], **options)
    while not list(states.glob("[0-9]*")):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    told = first.communicate(timeout=60)[1]
    (step,) = re.findall(r"vqlearn: tokens: stopped at step (\d+) of 100000", told)
    assert [path.name for path in states.iterdir()] == [step]


# C4 ------------------------------------------------------------------------------


def test_a_second_training_in_a_folder_ends_at_once(tmp_path, monkeypatch):
    make_small(monkeypatch.setattr)
    with alone_in(tmp_path, Accelerator(cpu=True)):
        with pytest.raises(BlockingIOError, match=f"{re.escape(str(tmp_path))} is used by another"):
            small_stage("tokens", tmp_path)
        assert not (tmp_path / "vqvae").exists()
        assert small_stage("tokens", tmp_path / "other") == []
    assert small_stage("tokens", tmp_path) == []


def test_the_lock_of_a_killed_training_blocks_nobody(tmp_path):
    code = """
import filelock, os, signal, sys
filelock.FileLock(sys.argv[1]).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    lock = tmp_path / ".training" / "lock"
    lock.parent.mkdir()
    killed = subprocess.run([sys.executable, "-c", code, str(lock)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert lock.exists()
    with alone_in(tmp_path, Accelerator(cpu=True)):
        pass


# C5 ------------------------------------------------------------------------------


def refusal(monkeypatch, capsys, *arguments):
    """The one line with which `vqlearn ARGUMENTS` ends, if no model was asked for anything."""
    called = lambda *_, **__: pytest.fail("the work was begun")  # noqa: E731
    monkeypatch.setattr(TextToImagePipeline, "from_pretrained", called)
    monkeypatch.setattr(sys, "argv", ["vqlearn", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    lines = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def sealed(tmp_path):
    """A file where a folder would have to be: nothing can be written below it, not even by root."""
    (tmp_path / "sealed").write_text("")
    return tmp_path / "sealed"


@pytest.mark.parametrize("option", ["--out", "--film"])
def test_outputs_are_tried_before_the_work(option, sealed, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.gif").mkdir()
    monkeypatch.chdir(tmp_path)
    generate = ["generate", "a red circle", option]
    for file, words in (
        (sealed / "a.gif", "cannot be written to"),
        ("folder.gif", "a folder; allowed: a file"),
        ("image.xyz", "allowed: a"),
        ("image.hdf", "allowed: a"),
        ("image", "allowed: a"),
        ("", "allowed: a"),
    ):
        line = refusal(monkeypatch, capsys, *generate, file)
        assert line.startswith(f"vqlearn: {option}")
        assert words in line
    assert not (tmp_path / "image.xyz").exists()


def test_image_and_film_are_two_files(tmp_path, monkeypatch, capsys):
    (tmp_path / "link.gif").symlink_to(tmp_path / "a.gif")
    for film in ("a.gif", "../" + tmp_path.name + "/a.gif", "link.gif"):
        monkeypatch.chdir(tmp_path)
        words = ["generate", "a red circle", "--out", tmp_path / "a.gif", "--film", film]
        assert "allowed: another file than that of --out" in refusal(monkeypatch, capsys, *words)


def test_the_folder_of_a_report_is_tried_before_the_work(sealed, monkeypatch, capsys):
    line = refusal(monkeypatch, capsys, "verify", "scenes", "--out", sealed / "report")
    assert line.startswith("vqlearn: --out: ")


def test_home_is_expanded_wherever_a_path_comes_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_diffusers_folder(tmp_path / "model")
    words = ["generate", "a red circle", "--model", "~/model", "--steps", "2"]
    words += ["--out", "~/new/image.png", "--film", "~/film.gif"]
    monkeypatch.setattr(sys, "argv", ["vqlearn", *words])
    with pytest.raises(SystemExit):
        commands.main()
    assert capsys.readouterr().out.split() == [str(tmp_path / "new" / "image.png")]
    pipe = VQDiffusionPipeline.from_pretrained("~/model")
    pipe.save_pretrained("~/again")
    save_gif([Image.new("RGB", (2, 2))], "~/two/film.gif")
    assert HubOptions(cache_dir="~/cache").cache_dir == tmp_path / "cache"
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"model", "again", "new", "two", "film.gif"}


@pytest.mark.parametrize("write", [outputs.save_image, lambda one, file: save_gif([one], file)])
def test_an_image_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch, write):
    file = tmp_path / "image.gif"
    file.write_bytes(b"old")

    def full(image, path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write(Image.new("RGB", (2, 2)), file)
    assert file.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["image.gif"]


def test_saving_a_pipeline_where_nothing_can_be_written(sealed):
    pipe = VQDiffusionPipeline.from_pretrained("scenes")
    with pytest.raises(OSError, match=r"save_directory: .* cannot be written to"):
        pipe.save_pretrained(sealed / "model")
    with pytest.raises(TypeError, match="save_directory is 5; allowed: a path"):
        pipe.save_pretrained(5)


# C6 ------------------------------------------------------------------------------


def test_a_training_is_not_lengthened_unasked_and_the_error_says_how_to_learn_on(
    tmp_path, monkeypatch, capsys
):
    """The command that it names works; in the folder itself there is --lengthen."""
    recipes = use_small_networks(monkeypatch)
    folder, size = tmp_path / "old run", ["--image-size", "16", "--batch-size", "2"]
    train_stages(folder, recipes, image_size=16)
    more = {name: replace(recipe, steps=4) for name, recipe in recipes.items()}
    for name in recipes:
        with pytest.raises(
            ValueError, match=r"steps 4 is not allowed: steps 2 \(.* a cosine over all steps\)"
        ) as refused:
            train_stages(folder, {name: more[name]}, image_size=16)
    assert "--lengthen; or train anew" in str(refused.value)
    command = str(refused.value).split("`")[1].replace("NEW", shlex.quote(str(tmp_path / "new")))
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--steps", "4", *size])
    with pytest.raises(SystemExit):
        commands.main()
    assert capsys.readouterr().out.strip() == str(tmp_path / "new")
    VQDiffusionPipeline.from_pretrained(tmp_path / "new")


def test_a_model_of_another_kind_that_is_finished_names_another_folder(tmp_path, monkeypatch):
    recipes = use_small_networks(monkeypatch)
    train_stages(tmp_path / "run", recipes, image_size=16)
    raster = {"raster": replace(recipes["diffusion"], steps=2)}
    new = tmp_path / "new"
    train_stages(new, raster, image_size=16, start_from=tmp_path / "run")
    longer = {"raster": replace(raster["raster"], steps=3)}
    with pytest.raises(ValueError, match=r"all steps\); choose another folder with --out"):
        train_stages(new, longer, image_size=16, start_from=tmp_path / "run")
