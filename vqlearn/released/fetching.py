"""Fetch one large file of a server so that a stop costs nothing: only what is missing is fetched.

The bytes of two states of a file are never mixed: a server is asked for the rest of the very state
that was begun. See "range requests" and `If-Range` in RFC 9110, section 13.1.5 and chapter 14.
"""

import os
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, TypeVar

import httpx

PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts, as long as none of them fetches a byte
TIMEOUT = 60.0  # seconds without a byte
TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
SERVER_ERROR = 500

T = TypeVar("T")


class Remote(NamedTuple):
    """What a server says of a file: its bytes, and which state of it this is.

    `version` is the ETag, or else the date of the last change; "": the server says neither.
    """

    size: int
    version: str


class Unfinished(Exception):
    """This attempt has failed; the next one may not."""


def open_client() -> httpx.Client:
    """Something that asks servers; to be used in a `with` block. It follows redirects."""
    headers = {"Accept-Encoding": "identity"}  # packed bytes would have other positions
    return httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=True)


def ask(client: httpx.Client, address: str) -> Remote:
    """What the server says of a file, of which at most one byte is fetched.

    Not every server that gives a file answers HEAD, so the first byte is asked for. Raises
    `OSError` that names the address.
    """

    def attempt() -> Remote:
        with client.stream("GET", address, headers={"Range": "bytes=0-0"}) as response:
            return _understood(address, response)[1]

    return _patiently(address, attempt)


def fetch_rest(
    client: httpx.Client,
    address: str,
    remote: Remote,
    file: Path,
    advance: Callable[[int], object],
) -> None:
    """Append to `file` what it lacks of `remote`, until it has that size; then it is on the disk.

    What `file` holds must be the beginning of this state. A server that cannot give a rest, or does
    not say which state it has, is asked for all of it again. `advance` is told how many bytes the
    file has grown by: fewer than 0 if it begins anew.

    Raises `OSError` that names the address for whatever the server gives, or does not; what was
    fetched stays in `file`, but for a state that is gone or has another size: then it is deleted.
    """

    def attempt() -> None:
        there = size_of(file)
        headers = {}
        if there and remote.version:
            headers = {"Range": f"bytes={there}-", "If-Range": remote.version}
        with client.stream("GET", address, headers=headers) as response:
            begin, now = _understood(address, response)
            if now != remote or begin not in (0, there):
                file.unlink(missing_ok=True)
                raise OSError(
                    f"{address} has changed on the server while it was fetched; the same command "
                    "fetches it anew"
                )
            advance(begin - there)
            _write(response, file, begin, remote.size, advance)
        if size_of(file) < remote.size:
            raise Unfinished(f"it ended after {size_of(file)} of {remote.size} bytes")

    while size_of(file) < remote.size:
        _patiently(address, attempt, lambda: size_of(file))


def _understood(address: str, response: httpx.Response) -> tuple[int, Remote]:
    """The position of the first byte in a response, and the file that it is of."""
    status = response.status_code
    if status in TRY_AGAIN or status >= SERVER_ERROR:
        raise Unfinished(f"HTTP {status} {response.reason_phrase}")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise OSError(f"the server does not give {address}: HTTP {status} {response.reason_phrase}")
    said = response.headers
    if said.get("Content-Encoding", "identity") != "identity":
        raise OSError(f"{address} comes packed ({said['Content-Encoding']}); allowed: as it is")
    etag = said.get("ETag", "")
    version = etag if etag.startswith('"') else said.get("Last-Modified", "")  # no weak one, W/"…"
    if status == HTTPStatus.OK:
        begin, size = 0, said.get("Content-Length", "")
    else:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", said.get("Content-Range", ""))
        begin, size = (int(found[1]), found[2]) if found else (0, "")
    if not size.isdigit() or int(size) == 0:
        raise OSError(f"the server does not say how large {address} is")
    return begin, Remote(int(size), version)


def _write(
    response: httpx.Response,
    file: Path,
    begin: int,
    size: int,
    advance: Callable[[int], object],
) -> None:
    """Write a response from byte `begin` on. What has arrived before it breaks off is kept."""
    try:
        file.touch()
        with file.open("r+b") as stream:
            stream.seek(begin)
            stream.truncate()
            for piece in response.iter_raw():
                stream.write(piece)
                advance(len(piece))
                if stream.tell() > size:
                    break
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"it cannot be written ({error.strerror or error}); what was fetched stays, and the "
            "same command goes on",
            str(file),
        ) from error
    if size_of(file) > size:
        file.unlink()
        raise OSError(f"{response.url} sends more than the {size} bytes that it said")


def _patiently(address: str, attempt: Callable[[], T], done: Callable[[], int] = int) -> T:
    """What `attempt` returns. While the network fails it is tried again, after longer pauses.

    If more was `done` than ever before, pauses begin anew. Raises `OSError` after the last one.
    """
    pauses, most = iter(PAUSES), done()
    while True:
        try:
            return attempt()
        except (httpx.RequestError, Unfinished) as error:
            if done() > most:
                pauses, most = iter(PAUSES), done()
            pause = next(pauses, None)
            if pause is None:
                raise OSError(
                    f"{address} cannot be fetched ({error or type(error).__name__}); what was "
                    "fetched stays, and the same command goes on"
                ) from error
        time.sleep(pause)


def size_of(file: Path) -> int:
    """The bytes of a file; 0 if there is none."""
    return file.stat().st_size if file.exists() else 0
