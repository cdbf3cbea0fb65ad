"""The command `vqlearn convert`: its options."""

from pathlib import Path
from typing import Annotated

import typer


def convert(
    files: Annotated[
        list[Path], typer.Argument(help="A training checkpoint, or all of its parts in order.")
    ],
    out: Annotated[Path, typer.Option(help="The folder of the checkpoint.")],
    used_codes: Annotated[
        Path | None,
        typer.Option(help="Which codes the model knows: taming_vqvae_2887.pt or _974.pt."),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="CLIP's, of text models: a folder, or bpe_simple_vocab_16e6.txt.gz."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="An unknown weight that is of no use, or a pattern; one each time."),
    ] = None,
) -> None:
    """Write an official VQ-Diffusion checkpoint as a folder for --model; prints its path.

    What the file is, its weights tell: a model of text, of classes or of nothing, with its
    tokenizer, or a tokenizer alone. Nothing in the file is executed. A checkpoint that is in the
    folder already is replaced once all of the new one is written.
    """
    from vqlearn.released import convert
    from vqlearn.storage import as_input, as_path, check_output_folder

    parts, out = [as_input("FILES", file) for file in files], as_path("--out", out)
    options = {"--used-codes": used_codes, "--tokenizer": tokenizer}
    codes, words = (path and as_input(name, path) for name, path in options.items())
    check_output_folder(
        "--out", next(path for path in (out, *out.absolute().parents) if path.exists())
    )
    convert(parts, out, used_codes=codes, tokenizer=words, unused=drop or [])
    typer.echo(out)
