"""Checkpoints of the Hugging Face hub: which files of a repository are needed, and getting them.

    folder = download("microsoft/vq-diffusion-ithq")

`huggingface_hub` does the work: its cache, its environment variables (`HF_HOME`,
`HF_HUB_OFFLINE`, `HF_ENDPOINT`) and its tokens are used. Tests: tests/test_hub.py.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vqlearn.checkpoints.errors import CheckpointError
from vqlearn.checkpoints.layout import NULL_TEXT_FOLDER, PARTS, STEMS
from vqlearn.checkpoints.weights import SUFFIXES

logger = logging.getLogger("vqlearn")

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class HubOptions:
    """Which state of a repository, and where its files go.

    - `revision`: a branch, tag or commit; None is "main".
    - `variant`: a kind of weights beside the plain ones, such as "fp16".
    - `cache_dir`: instead of huggingface_hub's own cache.
    - `local_files_only`: ask no server, use what is in the cache.
    """

    revision: str | None = None
    variant: str | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


def is_repository(name: str) -> bool:
    """May this be the name of a repository, "owner/name"?"""
    return REPOSITORY.fullmatch(name) is not None and ".." not in name


def download(repository: str, options: HubOptions) -> Path:
    """The folder with the files of a repository, from the cache where they are already there.

    Of several files with the same weights only the one that will be read is fetched. Without a
    network the cache is used. Raises `CheckpointError` if the repository or revision does not
    exist, or if the network is needed and cannot be reached: the message names what to do.
    """
    try:
        names = None if _offline(options) else _names(repository, options)
        return _fetch(repository, options, names and needed_files(names, options.variant))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(_how_to_get(repository, options)) from error
    except GatedRepoError as error:
        raise CheckpointError(f"the hub gives {repository} only to users with access") from error
    except RevisionNotFoundError as error:
        seen = options.revision or "main"
        raise CheckpointError(f"{repository} has no revision {seen!r}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"there is no folder {repository!r}, and no repository of that name on the hub"
        ) from error


def download_null_text(repository: str, options: HubOptions) -> Path | None:
    """A folder with the "no sentence" of the main branch, for a revision that lacks it, or None.

    The branch "fp16" of the released model lacks it.
    """
    main = replace(options, revision=None)
    try:
        folder = _fetch(repository, main, [f"{NULL_TEXT_FOLDER}/*"])
    except (LocalEntryNotFoundError, RepositoryNotFoundError, OSError):
        return None
    return folder if (folder / NULL_TEXT_FOLDER).is_dir() else None


def needed_files(names: Iterable[str], variant: str | None) -> list[str]:
    """Which of these files does a checkpoint need? Texts and JSON, and one file of weights a part.

    Safetensors before pickles, the variant before the plain weights, as in `find_weights`.
    """
    names = sorted(names)
    wanted = []
    for part in PARTS:
        here = [name for name in names if name.startswith(f"{part}/") or name == part]
        wanted += [name for name in here if not name.endswith(SUFFIXES)]
        wanted += _first_weights(here, part, variant)
    return wanted


def _first_weights(names: list[str], part: str, variant: str | None) -> list[str]:
    kinds = [""] if variant is None else [f".{variant}", ""]
    for kind in kinds:
        for suffix in SUFFIXES:
            for stem in STEMS:
                if f"{part}/{stem}{kind}{suffix}" in names:
                    return [f"{part}/{stem}{kind}{suffix}"]
    return []


def _offline(options: HubOptions) -> bool:
    return options.local_files_only or constants.HF_HUB_OFFLINE


def _names(repository: str, options: HubOptions) -> list[str] | None:
    """All files of the repository; None if the hub cannot be reached."""
    try:
        return HfApi().list_repo_files(repository, revision=options.revision)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise
    except (OSError, HfHubHTTPError, OfflineModeIsEnabled) as error:
        logger.warning("the hub cannot be reached (%s); looking in the cache", error)
        return None


def _fetch(repository: str, options: HubOptions, names: list[str] | None) -> Path:
    folder = snapshot_download(
        repository,
        revision=options.revision,
        cache_dir=options.cache_dir,
        local_files_only=names is None,
        allow_patterns=names,
    )
    return Path(folder)


def _how_to_get(repository: str, options: HubOptions) -> str:
    command = f"vqlearn download {repository}"
    if options.revision is not None:
        command += f" --revision {options.revision}"
    if options.variant is not None:
        command += f" --variant {options.variant}"
    return (
        f"{repository} is not in the cache and no network may be used or reached; "
        f"with a network, run: {command}"
    )
