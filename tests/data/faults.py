"""A proxy before a web server that breaks a share of the answers, each in one of the ways networks do."""

import http.client
import random
import re
import socket
import ssl
import struct
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote

KINDS = ("drop", "reset", "status", "short", "slow")


class FaultyProxy:
    """`rate` of the requests for objects go wrong; `injected` counts the faults by kind."""

    def __init__(
        self,
        host: str,
        port: int,
        rate: float,
        seed: int = 0,
        slow_seconds: float = 1.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.upstream, self.rate, self.slow_seconds = (host, port), rate, slow_seconds
        self.injected: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self._random, self._lock = random.Random(seed), Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy.answer(self)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.requests[handler.path.rpartition("/")[2]] += 1
            fault = self._random.choice(KINDS) if self._random.random() < self.rate else None
            if fault == "slow" and self.injected["slow"] >= 3:
                fault = "drop"  # each costs a time limit, so a few will do
            share = self._random.random()
        sent = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(*self.upstream)
        connection.request(handler.command, handler.path, sent or None, dict(handler.headers))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if fault in ("drop", "short") and not body:
            fault = "reset"
        if fault:
            with self._lock:
                self.injected[fault] += 1
        if fault == "reset":  # the connection dies before anything is said
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.close_connection = True
            handler.connection.close()
            return
        if fault == "status":
            handler.send_response(self._random.choice([500, 502, 503, 429]))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if fault == "slow":
            time.sleep(self.slow_seconds)
        handler.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "server", "date", "keep-alive"):
                handler.send_header(name, value)
        if fault in ("drop", "short"):
            handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            if fault in ("drop", "short"):  # in the midst of the body, by a reset or by an orderly end
                handler.wfile.write(body[: int(share * len(body))])
                handler.wfile.flush()
                if fault == "drop":
                    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                handler.close_connection = True
            elif handler.command != "HEAD":
                handler.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the reader had no patience left for a slow answer


class FileServer:
    """A web server for the files of one folder, under whatever path; by default it sends ranges, as most do."""

    def __init__(self, folder: Path, ranges: bool = True) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = folder / unquote(self.path).rpartition("/")[2]
                body = path.read_bytes() if path.is_file() else b""
                wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if ranges else None
                self.send_response(404 if not path.is_file() else 206 if wanted else 200)
                if wanted:
                    start, stop = int(wanted[1]), min(len(body), int(wanted[2]) + 1)
                    self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
                    body = body[start:stop]
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", '"1"')
                self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = ("127.0.0.1", self.server.server_port)
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
