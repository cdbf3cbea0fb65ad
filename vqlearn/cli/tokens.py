"""The commands `vqlearn tokens encode` and `vqlearn tokens decode`: their options."""

from pathlib import Path
from typing import Annotated

import typer

from vqlearn.cli.options import Model

ImageSize = Annotated[
    int | None, typer.Option(help="Pixels of a side; default: as the model was trained.")
]

app = typer.Typer(help="Write images as tokens, and tokens as images.")


@app.command()
def encode(
    folder: Annotated[Path, typer.Argument(help="A folder of images; folders in it count too.")],
    model: Model = "scenes",
    image_size: ImageSize = None,
    nearest_used: Annotated[
        bool, typer.Option("--nearest-used", help="Choose among the codes that the model knows.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The file of tokens.")] = Path("tokens.npz"),
) -> None:
    """Write all images of a folder as tokens, in one file; prints its path.

    Each is cut to its middle square and resized. An image that cannot be read is named and left
    out. The file holds the arrays tokens (images, rows, columns), file_names, num_codes and
    tokenizer, which says which model made the tokens.

    Several official models know only some codes of their tokenizer. The others become token 0, with
    which the models have learned; with --nearest-used none does, and more of an image is kept.
    """
    from vqlearn.cli.tokenizing import encoded
    from vqlearn.storage import as_path, check_output_file

    folder, file = as_path("FOLDER", folder), as_path("--out", out)
    if not folder.is_dir():
        raise NotADirectoryError(f"FOLDER is {str(folder)!r}; allowed: a folder of images")
    if file.suffix != ".npz":
        raise ValueError(f"--out is {str(file)!r}; allowed: a file such as tokens.npz")
    check_output_file("--out", file)
    encoded(model, folder, image_size, nearest_used=nearest_used).write(file)
    typer.echo(file)


@app.command()
def decode(
    tokens: Annotated[Path, typer.Argument(help="A file that `vqlearn tokens encode` wrote.")],
    model: Model = "scenes",
    out: Annotated[Path, typer.Option(help="The folder of the images.")] = Path("decoded"),
) -> None:
    """Write the images that tokens stand for, as PNG files with their names; prints the folder.

    Refuses tokens that another model made, and a folder that has files of these names.
    """
    from vqlearn.cli.tokenizing import write_decoded
    from vqlearn.data.token_file import TokenFile
    from vqlearn.storage import as_input, as_path, check_output_folder

    file, folder = as_input("TOKENS", tokens), as_path("--out", out)
    found = TokenFile.read(file)
    check_output_folder("--out", folder)
    write_decoded(model, found, folder)
    typer.echo(folder)
