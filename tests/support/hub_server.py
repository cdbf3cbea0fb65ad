"""A hub on this machine: as much of the Hugging Face protocol as a download needs."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse


class Hub:
    """`repositories[name][revision]` is the folder with the files of that state.

    `asked` lists the paths of all requests, `base` is its address.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Path]] = {}
        self.asked: list[str] = []
        self.base = ""

    def files_asked(self) -> set[str]:
        """The files that somebody fetched."""
        return {path.split("/resolve/")[1].split("/", 1)[1] for path in self.asked if "GET" in path}

    def commit(self, repository: str, revision: str) -> str | None:
        """The commit of a branch, or the commit itself; None if there is none."""
        for name in self.repositories.get(repository, {}):
            commit = hashlib.sha1(f"{repository}@{name}".encode()).hexdigest()
            if revision in (name, commit):
                return commit
        return None

    def folder(self, repository: str, commit: str) -> Path:
        """The files of a commit."""
        branches = self.repositories[repository]
        return next(f for name, f in branches.items() if self.commit(repository, name) == commit)


@contextmanager
def serving():
    """A hub that answers on a free port until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.answer(send=False)

        def do_GET(self):
            self.answer(send=True)

        def answer(self, send):
            parts = [unquote(part) for part in urlparse(self.path).path.strip("/").split("/")]
            if parts[:2] == ["api", "models"]:
                return self.about("/".join(parts[2:4]), *parts[4:6])
            repository, (_, revision, *name) = "/".join(parts[:2]), parts[2:]
            commit = hub.commit(repository, revision)
            file = commit and hub.folder(repository, commit) / "/".join(name)
            if not commit or not file.is_file():
                return self.fail("EntryNotFound" if commit else "RevisionNotFound")
            hub.asked.append(f"{'GET' if send else 'HEAD'} {self.path}")
            data = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
            return self.reply(data, headers, send)

        def about(self, repository, kind="revision", revision="main"):
            if repository not in hub.repositories:
                return self.fail("RepoNotFound")
            commit = hub.commit(repository, revision)
            if commit is None:
                return self.fail("RevisionNotFound")
            folder = hub.folder(repository, commit)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            names = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]
            if kind == "tree":
                said = [{"type": "file", "path": n, "size": size, "oid": "0"} for n, size in names]
            else:
                siblings = [{"rfilename": name} for name, _ in names]
                said = {"id": repository, "sha": commit, "siblings": siblings}
            return self.reply(json.dumps(said).encode(), {"Content-Type": "application/json"}, True)

        def reply(self, data, headers, send):
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if send:
                self.wfile.write(data)

        def fail(self, code):
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
