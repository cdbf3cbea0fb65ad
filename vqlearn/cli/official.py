"""The official models for the command `vqlearn download`: which there are, and getting one."""

from pathlib import Path

import typer

OWNER = "official"


def is_official(model: str) -> bool:
    """Is this `official`, or `official/NAME`?"""
    return model.partition("/")[0] == OWNER


def fetched(model: str, out: Path | None, *, delete_parts: bool) -> str:
    """The folder of an official model, or for `official` alone what is offered.

    Raises `ValueError` for an unknown name, after what is offered was told on stderr; otherwise as
    `released.download` does.
    """
    from vqlearn.released.catalogue import released
    from vqlearn.storage import as_path

    name = model.removeprefix(OWNER).removeprefix("/")
    if not name:
        check_only_official(out, delete_parts=delete_parts)
        return offered()
    try:
        chosen = released(name)
    except ValueError:
        typer.echo(offered(), err=True)
        raise
    from vqlearn.released import convert, download

    folder = Path(OWNER, name) if out is None else as_path("--out", out)

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    download(chosen, folder, convert, delete_parts=delete_parts, tell=tell)
    return str(folder)


def offered() -> str:
    """What can be downloaded, what cannot, and why."""
    from vqlearn.released.catalogue import AZURE, NOT_RELEASED, RELEASE, RELEASED

    lines = [
        f"{OWNER}/{model.name:<32}{model.kind:<11}{model.trained_on:<21}files: {len(model.files)}"
        for model in RELEASED
    ]
    missing = [f"  {name}: {reason}" for name, reason in NOT_RELEASED.items()]
    return "\n".join([*lines, "Not offered:", *missing, f"From {RELEASE}; {AZURE}."])


def check_no_hub_options(**options: object) -> None:
    """Raise `ValueError` that names an option which is for repositories of the hub."""
    for name, value in options.items():
        if value is not None:
            option = name.replace("_", "-")
            raise ValueError(
                f"--{option} is {str(value)!r}; allowed: not with {OWNER}, it is for the hub"
            )


def check_only_official(out: Path | None, *, delete_parts: bool) -> None:
    """Raise `ValueError` that names an option which is for `official/NAME`."""
    for name, value in {"--out": out, "--delete-parts": delete_parts or None}.items():
        if value is not None:
            raise ValueError(f"{name} is {str(value)!r}; allowed: only with {OWNER}/NAME")
