"""`vqlearn download official/NAME`: what is offered, and the folder that comes of it."""

import pytest
from support.command import run_command

import vqlearn.released
from vqlearn.released import RELEASED, catalogue


@pytest.fixture
def server(file_server, tmp_path, monkeypatch):
    """The release on this machine. Its files are converted to a folder that lists them."""

    def convert(files, out, *, used_codes, tokenizer):
        out.mkdir(parents=True, exist_ok=True)
        names = [file.name for file in [*files, used_codes, tokenizer]]
        (out / "converted").write_text(" ".join(names))

    monkeypatch.setattr(vqlearn.released, "convert", convert)
    monkeypatch.chdir(tmp_path)
    for address in ("RELEASE", "REPOSITORY"):
        monkeypatch.setattr(catalogue, address, file_server.base)
    return file_server


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: run_command(monkeypatch, capsys, "download", *arguments)


CUB = [f"cub_pretrained_a{end}" for end in "abcdefg"]


@pytest.mark.parametrize("options", [[], ["--out", "elsewhere"]])
@pytest.mark.parametrize("delete", [False, True])
def test_a_model_is_fetched_and_converted(server, run, tmp_path, options, delete):
    others = ["taming_vqvae_2887.pt", "bpe_simple_vocab_16e6.txt.gz"]
    server.files |= dict.fromkeys([*CUB, *others], b"0123456789")
    options, folder = [*options, *["--delete-parts"] * delete], (options or ["", ""])[1]
    code, stdout, stderr = run("official/cub_pretrained", *options)
    folder = folder or "official/cub_pretrained"
    assert (code, stdout) == (0, f"{folder}\n"), stderr
    assert "cub_pretrained: 90 bytes in 9 files, 0 of them are there\n" in stderr
    assert (tmp_path / folder / "converted").read_text().split() == [*CUB, *others]
    assert (tmp_path / f"{folder}-files" / CUB[0]).exists() != delete


def test_official_lists_what_is_offered_and_what_is_not(run):
    code, stdout, _ = run("official")
    assert code == 0
    for model in RELEASED:
        assert f"official/{model.name} " in stdout
    for name in ("FFHQ", "Oxford-102", "LAION-400M"):
        assert f"  {name}: " in stdout
    assert "https://github.com/tzco/storage/releases" in stdout
    assert "Azure links of the original README are dead" in stdout


@pytest.mark.parametrize("name", ["official/ffhq", "official/ITHQ_learnable", "official/a/b"])
def test_an_unknown_name_is_refused_below_the_list(run, name):
    code, stdout, stderr = run(name)
    assert (code, stdout) == (1, "")
    *listed, last = stderr.strip().splitlines()
    assert last.startswith(f"vqlearn: the released model is {name[9:]!r}; allowed: ")
    assert run("official")[1].strip() == "\n".join(listed)


@pytest.mark.parametrize(
    "arguments",
    [
        ["official/cub_pretrained", "--revision", "main"],
        ["official/cub_pretrained", "--variant", "fp16"],
        ["official", "--cache-dir", "here"],
        ["official", "--out", "here"],
        ["official", "--delete-parts"],
        ["microsoft/vq-diffusion-ithq", "--out", "here"],
        ["microsoft/vq-diffusion-ithq", "--delete-parts"],
    ],
)
def test_an_option_that_would_do_nothing_is_refused(run, arguments):
    code, _, stderr = run(*arguments)
    assert code == 1
    assert stderr.startswith(f"vqlearn: {arguments[1]} is ")


def test_a_server_that_lacks_a_file_is_one_line(server, run):
    code, _, stderr = run("official/ithq_vqvae")
    assert code == 1
    assert stderr.splitlines()[-1].endswith("/ithq_vqvae.pth: HTTP 404 Not Found")
