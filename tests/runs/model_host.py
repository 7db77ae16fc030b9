"""A model hub on this machine: the requests that huggingface_hub makes for a model, answered out of a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

NAME = "me/tiny"


class ModelHost:
    """One repository `NAME` with the files of a folder, under `main` and `v1`; notes the paths that are asked for."""

    def __init__(self, folder: Path):
        self.folder, self.requests = folder, []

    @property
    def commit(self) -> str:
        content = [(path.name, path.stat().st_mtime_ns) for path in sorted(self.folder.iterdir())]
        return hashlib.sha1(repr(content).encode()).hexdigest()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        self.requests.append(path)
        files = sorted(self.folder.iterdir())
        if path == "/":
            return 200, {}, b""
        if path in (f"/api/models/{NAME}/revision/main", f"/api/models/{NAME}/revision/v1"):
            siblings = [{"rfilename": file.name} for file in files]
            return 200, {}, json.dumps({"id": NAME, "sha": self.commit, "siblings": siblings}).encode()
        if path == f"/api/models/{NAME}/tree/{self.commit}":
            entries = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40} for file in files
            ]
            return 200, {}, json.dumps(entries).encode()
        for file in files:
            if path == f"/{NAME}/resolve/{self.commit}/{file.name}":
                tag = hashlib.sha1(file.read_bytes()).hexdigest()
                return 200, {"ETag": f'"{tag}"', "X-Repo-Commit": self.commit}, file.read_bytes()
        missing = "RevisionNotFound" if path.startswith(f"/api/models/{NAME}/") else "RepoNotFound"
        return 404, {"X-Error-Code": missing}, b""


@contextmanager
def hosted(folder: Path) -> Iterator[tuple[ModelHost, str]]:
    """A host and its address, while the context lasts."""
    host = ModelHost(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = host.answer(urlsplit(self.path).path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield host, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
