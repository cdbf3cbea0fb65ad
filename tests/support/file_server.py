"""A server of files on this machine, which can be told to fail in every way that matters."""

import hashlib
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Request:
    """A file that was asked for, from which byte on, and how much of its content was sent."""

    name: str
    range: str | None
    status: int
    sent: int


@dataclass
class FileServer:
    """`files` are contents by name; `asked` lists all requests.

    - `ranges`: does it give a part of a file?
    - `versions`: headers it sends of "ETag" and "Last-Modified".
    - `headers`: others that replace its own; None: that one is not sent.
    - `statuses`: instead of a file, for the next requests; None: the file.
    - `cuts`: after how many bytes the connection drops, for the next files that are sent.
    - `extra`: what it sends behind the end of a file.
    - `moved`: does it send a redirect first?
    """

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    base: str = ""
    ranges: bool = True
    versions: tuple[str, ...] = ("ETag", "Last-Modified")
    headers: dict[str, str | None] = field(default_factory=dict)
    statuses: list[int | None] = field(default_factory=list)
    cuts: list[int | None] = field(default_factory=list)
    extra: bytes = b""
    moved: bool = False

    def sent(self, name: str) -> int:
        """How many bytes of a file were sent, in all answers that were longer than one byte."""
        return sum(r.sent for r in self.asked if r.name == name and r.sent > 1)

    def version(self, content: bytes) -> dict[str, str]:
        """The headers that say which state of a file this is."""
        digest = hashlib.sha1(content).hexdigest()
        said = {"ETag": f'"{digest}"', "Last-Modified": f"Mon, {int(digest[:3], 16)}"}
        return {name: said[name] for name in self.versions}


@contextmanager
def serving_files():
    """A server that answers on a free port until the block ends."""
    files = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            name, range_ = self.path.rpartition("/")[2], self.headers["Range"]
            if files.moved and "/signed/" not in self.path:
                return self.reply(302, {"Location": f"{files.base}/signed/{name}"}, b"")
            status = files.statuses.pop(0) if files.statuses else None
            if status is None and name not in files.files:
                status = 404
            if status is not None:
                files.asked.append(Request(name, range_, status, 0))
                return self.reply(status, {}, b"")
            self.send_file(name, files.files[name], range_)

        def send_file(self, name, content, range_):
            version = files.version(content)
            wanted = self.headers["If-Range"]
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", range_ or "")
            headers, body, status = version, content, 200
            if found and files.ranges and wanted in (None, *version.values()):
                begin, last = int(found[1]), int(found[2] or len(content) - 1)
                body, status = content[begin : last + 1], 206
                headers |= {"Content-Range": f"bytes {begin}-{last}/{len(content)}"}
            is_probe = range_ == "bytes=0-0"
            cut = files.cuts.pop(0) if files.cuts and not is_probe else None
            sent = len(body) if cut is None else min(cut, len(body))
            files.asked.append(Request(name, range_, status, 0 if is_probe else sent))
            extra = b"" if is_probe else files.extra
            self.reply(status, headers, body + extra, None if cut is None else sent)

        def reply(self, status, headers, body, sent=None):
            said = {"Content-Length": str(len(body)), **headers, **files.headers}
            self.send_response(status)
            for name, value in said.items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(body[:sent])
            except OSError:
                pass  # whoever asked has seen enough
            self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
