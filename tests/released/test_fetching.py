"""A file that was fetched is that of the server, whatever happened in between, or it is refused."""

import random

import pytest

from vqlearn.released.fetching import PAUSES, Remote, ask, fetch_rest, open_client, size_of

CONTENT = random.Random(0).randbytes(300_000)
HALF = len(CONTENT) // 2


@pytest.fixture
def server(file_server):
    """Its one file is big."""
    file_server.files["big"] = CONTENT
    return file_server


@pytest.fixture
def client():
    with open_client() as client:
        yield client


@pytest.fixture
def fetch(server, client, tmp_path):
    """Fetch `server.files["big"]` into a file that may hold its beginning; returns what it holds.

    `grown` lists the steps that a progress bar is told.
    """
    address, file, grown = f"{server.base}/big", tmp_path / "big.part", []

    def fetch(there=b"", remote=None):
        if there:
            file.write_bytes(there)
        remote = remote or ask(client, address)
        server.asked.clear()
        fetch_rest(client, address, remote, file, grown.append)
        return file.read_bytes()

    fetch.file, fetch.grown, fetch.ask = file, grown, lambda: ask(client, address)
    return fetch


# What a server says -----------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
def test_size_and_version_are_asked_for_without_the_file(server, fetch, ranges):
    server.ranges = ranges
    etag = server.version(CONTENT)["ETag"]
    assert fetch.ask() == Remote(len(CONTENT), etag)
    assert server.asked[0].range == "bytes=0-0"


@pytest.mark.parametrize(
    ("headers", "versions", "expected"),
    [
        ({}, ("Last-Modified",), "Last-Modified"),
        ({"ETag": 'W/"about"'}, ("Last-Modified",), "Last-Modified"),
        ({"ETag": 'W/"about"'}, (), None),
        ({}, (), None),
    ],
)
def test_a_weak_version_does_not_count(server, fetch, headers, versions, expected):
    server.headers, server.versions = headers, versions
    assert fetch.ask().version == server.version(CONTENT).get(expected, "")


@pytest.mark.parametrize(
    ("headers", "ranges", "reason"),
    [
        ({"Content-Length": None}, False, "does not say how large"),
        ({"Content-Range": "bytes 0-0/*"}, True, "does not say how large"),
        ({"Content-Encoding": "gzip"}, True, r"packed \(gzip\)"),
    ],
)
def test_an_answer_that_cannot_be_counted_is_refused(server, fetch, headers, ranges, reason):
    server.headers, server.ranges = headers, ranges
    with pytest.raises(OSError, match=reason):
        fetch.ask()


def test_an_empty_file_is_refused(server, client):
    server.files["nothing"], server.ranges = b"", False
    with pytest.raises(OSError, match="does not say how large"):
        ask(client, f"{server.base}/nothing")


# Fetching ---------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [False, True])
def test_a_file_is_fetched_once(server, fetch, moved):
    server.moved = moved
    assert fetch() == CONTENT
    assert server.sent("big") == len(CONTENT) == sum(fetch.grown)


@pytest.mark.parametrize("versions", [("ETag",), ("Last-Modified",)])
def test_only_the_rest_is_fetched(server, fetch, versions):
    server.versions = versions
    assert fetch(CONTENT[:HALF]) == CONTENT
    assert [(r.range, r.status) for r in server.asked] == [(f"bytes={HALF}-", 206)]
    assert server.sent("big") == len(CONTENT) - HALF == sum(fetch.grown)


def test_nothing_is_asked_for_if_all_is_there(server, fetch):
    assert fetch(CONTENT) == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("what", ["ranges", "versions"])
def test_without_a_way_to_ask_for_the_rest_all_is_fetched_again(server, fetch, what):
    setattr(server, what, ())
    assert fetch(b"?" * HALF) == CONTENT  # what was there is not kept
    assert server.sent("big") == len(CONTENT)
    assert sum(fetch.grown) == len(CONTENT) - HALF


def test_a_dropped_connection_goes_on_where_it_was(server, fetch):
    server.cuts = [70_000, 100_000, 50_000, None]
    assert fetch() == CONTENT
    assert server.sent("big") == len(CONTENT) == sum(fetch.grown)
    assert [r.range for r in server.asked] == [
        None, "bytes=70000-", "bytes=170000-", "bytes=220000-"
    ]  # fmt: skip


def test_a_dropped_connection_without_ranges_ends_too(server, fetch):
    server.ranges, server.cuts = False, [HALF, 10, HALF + 1]
    assert fetch() == CONTENT


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_a_server_that_is_busy_is_asked_again(server, fetch, status):
    remote, server.statuses = fetch.ask(), [status] * len(PAUSES)
    assert fetch(remote=remote) == CONTENT
    assert [r.status for r in server.asked] == [status] * len(PAUSES) + [200]


def test_a_server_that_stays_busy_is_given_up_and_nothing_is_lost(server, fetch):
    remote, server.statuses = fetch.ask(), [503] * 100
    with pytest.raises(OSError, match=r"big cannot be fetched \(HTTP 503 .*\); what was fetched"):
        fetch(CONTENT[:HALF], remote)
    assert len(server.asked) == len(PAUSES) + 1
    assert fetch.file.read_bytes() == CONTENT[:HALF]


def test_attempts_are_counted_anew_when_something_has_come(server, fetch):
    server.cuts = [10_000] * 25
    assert fetch() == CONTENT
    assert len(server.asked) == 26


def test_pauses_get_longer_and_begin_anew(server, fetch, monkeypatch):
    pauses, remote = [], fetch.ask()
    monkeypatch.setattr("vqlearn.released.fetching.time.sleep", pauses.append)
    server.statuses, server.cuts = [503, 503, None, 503], [1000, None]
    assert fetch(remote=remote) == CONTENT
    assert pauses == [PAUSES[0], PAUSES[1], PAUSES[0], PAUSES[1]]


@pytest.mark.parametrize("status", [403, 404, 410, 416])
def test_what_is_not_given_is_refused_at_once(server, fetch, status):
    server.statuses = [status] * 2
    with pytest.raises(OSError, match=f"the server does not give .*/big: HTTP {status}"):
        fetch.ask()
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_named(client, server, tmp_path):
    with pytest.raises(OSError, match=r"http://127.0.0.1:9/x cannot be fetched \(.*refused"):
        ask(client, "http://127.0.0.1:9/x")


# Other states of a file ---------------------------------------------------------------


OTHERS = {"other bytes": CONTENT[::-1], "shorter": CONTENT[:-1], "longer": CONTENT + b"!"}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("there", [0, HALF])
def test_two_states_are_never_mixed(server, fetch, other, there):
    remote = fetch.ask()
    server.files["big"] = OTHERS[other]
    with pytest.raises(OSError, match="has changed on the server while it was fetched"):
        fetch(CONTENT[:there], remote)
    assert not fetch.file.exists()


def test_a_state_that_changes_between_two_pieces_is_noticed(server, fetch, monkeypatch):
    def change(seconds):
        server.files["big"] = CONTENT[::-1]

    remote, server.cuts = fetch.ask(), [HALF]
    monkeypatch.setattr("vqlearn.released.fetching.time.sleep", change)
    with pytest.raises(OSError, match="has changed on the server"):
        fetch(remote=remote)
    assert not fetch.file.exists()


def test_a_rest_that_begins_elsewhere_is_refused(server, fetch):
    remote = fetch.ask()
    server.headers = {"Content-Range": f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with pytest.raises(OSError, match="has changed on the server"):
        fetch(CONTENT[:HALF], remote)


def test_more_than_the_size_is_never_taken(server, fetch):
    remote, server.extra = fetch.ask(), b"!" * 100_000
    server.headers = {"Content-Length": None}  # until the connection ends
    with pytest.raises(OSError, match=f"more than the {len(CONTENT)} bytes"):
        fetch(CONTENT[:HALF], remote)
    assert not fetch.file.exists()


def test_a_full_disk_is_named_and_nothing_is_lost(server, fetch):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    remote = fetch.ask()
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limits[1]))
    try:
        with pytest.raises(OSError, match=r"it cannot be written \(.*big.part"):
            fetch(remote=remote)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 0 < size_of(fetch.file) <= HALF
    assert fetch(remote=remote) == CONTENT
    assert server.asked[0].range == f"bytes={HALF}-"
