"""Checkpoints of the Hugging Face hub: which files of a repository are needed, and getting them.

    folder = download("microsoft/vq-diffusion-ithq", HubOptions())

`huggingface_hub` does the work: its cache, its environment variables (`HF_HOME`,
`HF_HUB_OFFLINE`, `HF_ENDPOINT`) and its tokens are used.
"""

import logging
import re
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import NoneType
from typing import TypeVar

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from vqlearn.checkpoints.layout import INDEX_FILE, PARTS, STEMS, CheckpointError
from vqlearn.checkpoints.weights import candidates
from vqlearn.probability.checks import check_kind
from vqlearn.storage import as_path

logger = logging.getLogger("vqlearn")

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TEXTS = (".json", ".txt")
SERVER_ERROR = 500
PATIENCE = 4.0  # seconds until the hub counts as out of reach

T = TypeVar("T")


@dataclass(frozen=True)
class HubOptions:
    """Which state of a repository, and where its files go.

    - `revision`: a branch, tag or commit; None is "main".
    - `variant`: a kind of weights beside the plain ones, such as "fp16".
    - `cache_dir`: instead of huggingface_hub's own cache.
    - `local_files_only`: ask no server, use what is in the cache.
    - `use_safetensors`: True: no pickled weights; False: nothing else; None: safetensors first.
    - `token`: of the hub; True or None: the one that is stored on this machine, False: none.
    - `force_download`: fetch files anew that are in the cache.

    Raises `TypeError` or `ValueError` that names the option.
    """

    revision: str | None = None
    variant: str | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    use_safetensors: bool | None = None
    token: str | bool | None = field(default=None, repr=False)
    force_download: bool = False

    def __post_init__(self) -> None:
        for name in ("revision", "variant"):
            check_kind(name, getattr(self, name), str, NoneType)
        for name in ("local_files_only", "force_download"):
            check_kind(name, getattr(self, name), bool)
        check_kind("use_safetensors", self.use_safetensors, bool, NoneType)
        check_kind("token", self.token, str, bool, NoneType, secret=True)
        if self.force_download and self.local_files_only:
            raise ValueError("force_download is True; allowed with local_files_only=True: False")
        if self.cache_dir is not None:
            object.__setattr__(self, "cache_dir", as_path("cache_dir", self.cache_dir))


def is_repository(name: str) -> bool:
    """May this be the name of a repository, "owner/name"?"""
    return REPOSITORY.fullmatch(name) is not None


def download(repository: str, options: HubOptions) -> Path:
    """The folder with the files of a repository, from the cache where they are already there.

    Of several files with the same weights only the one that will be read is fetched. Without a
    network the cache is used. Raises `CheckpointError` if the repository or revision does not
    exist, or if the network is needed and cannot be reached: the message names what to do.
    """
    folder = snapshot(repository, options)
    if folder is not None and (folder / INDEX_FILE).is_file():
        return folder
    chosen = {"revision": options.revision, "variant": options.variant}
    words = [f"--{name} {value}" for name, value in chosen.items() if value is not None]
    raise CheckpointError(
        f"there is no folder {repository!r}, and no repository of that name is in the cache, and "
        "the hub was not asked or did not answer; "
        f"if it has one, run: {' '.join(['vqlearn download', repository, *words])}"
    )


def needed_files(
    names: Iterable[str], variant: str | None, use_safetensors: bool | None = None
) -> list[str]:
    """Which of these files does a checkpoint need? JSON and texts, and one file of weights a part.

    The weights are those that `find_weights` would choose.
    """
    names = sorted(names)
    wanted = []
    for part in PARTS:
        here = [name for name in names if name.startswith(f"{part}/") or name == part]
        weights = [f"{part}/{name}" for name in candidates(STEMS, variant, use_safetensors)]
        wanted += [name for name in here if name.endswith(TEXTS)]
        wanted += [name for name in weights if name in here][:1]
    return wanted


def snapshot(repository: str, options: HubOptions, part: str = "") -> Path | None:
    """The folder with the needed files whose names begin with `part`.

    Without a network it is what the cache holds: None if that is nothing. Raises `CheckpointError`
    if the hub does not give the repository.
    """
    try:
        names = _names(repository, options)
        needed = needed_files(names or [], options.variant, options.use_safetensors)
        folder = snapshot_download(
            repository,
            revision=options.revision,
            cache_dir=options.cache_dir,
            allow_patterns=[name for name in needed if name.startswith(part)],
            local_files_only=names is None,
            token=options.token,
            force_download=options.force_download and names is not None,
        )
        return Path(folder)
    except LocalEntryNotFoundError:
        return None
    except GatedRepoError as error:
        raise CheckpointError(f"the hub gives {repository} only to users with access") from error
    except RevisionNotFoundError as error:
        seen = options.revision or "main"
        raise CheckpointError(f"{repository} has no revision {seen!r}") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(
            f"there is no folder {repository!r}, and no repository of that name on the hub"
        ) from error
    except HfHubHTTPError as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"the hub does not give {repository}: {reason}") from error


def _names(repository: str, options: HubOptions) -> list[str] | None:
    """All files of the repository; None if the hub may not be asked, or does not answer."""
    if options.local_files_only or constants.HF_HUB_OFFLINE:
        return None
    api, chosen = HfApi(token=options.token), {"revision": options.revision}
    try:  # once: a list of files would be asked for six times
        about = _within(PATIENCE, lambda: api.model_info(repository, timeout=PATIENCE, **chosen))
        return [file.rfilename for file in about.siblings or []]
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code < SERVER_ERROR:
            raise
    except (HTTPError, OSError) as error:
        reason = str(error) or "no answer"
        logger.warning("the hub cannot be reached (%s); looking in the cache", reason)
    return None


def _within(seconds: float, ask: Callable[[], T]) -> T:
    """What `ask` returns, or `TimeoutError`: looking up the name of a server may take minutes."""
    answer: Future[T] = Future()

    def wait() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=wait, daemon=True).start()
    return answer.result(timeout=seconds)
