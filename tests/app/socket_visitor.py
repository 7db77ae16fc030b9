"""A visitor without a browser: it speaks viser's protocol over a WebSocket."""

from __future__ import annotations

from typing import Any

import msgspec
import viser
import zstandard
from websockets.sync.client import ClientConnection, connect

CAMERA = {
    "type": "ViewerCameraMessage",
    **{"wxyz": (1.0, 0.0, 0.0, 0.0), "position": (0.0, 0.0, 3.0), "look_at": (0.0, 0.0, 0.0)},
    **{"up_direction": (0.0, 1.0, 0.0), "fov": 1.0, "near": 0.1, "far": 9.0, "image_height": 10, "image_width": 10},
}


class SocketVisitor:
    """An open connection to a page's server, from a page at `origin`."""

    def __init__(self, url: str, origin: str | None):
        self._socket: ClientConnection = connect(
            url.replace("http", "ws"),
            origin=origin,  # type: ignore[arg-type]
            subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
            compression=None,
            max_size=None,
        )

    def send(self, **message: Any) -> None:
        self._socket.send(msgspec.msgpack.encode(message))

    def enter(self) -> None:
        """Send what makes a connection a visitor."""
        self.send(**CAMERA)

    def receive(self, timeout: float = 10.0) -> list[dict[str, Any]]:
        """The next messages. Raises ConnectionClosed at the end of the connection."""
        raw = self._socket.recv(timeout)
        assert isinstance(raw, bytes)
        size = int.from_bytes(raw[8:16], "little")
        return msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(raw[16 : 16 + size]))["messages"]

    def receive_all(self) -> None:
        """Receive until the connection ends. Raises ConnectionClosed then."""
        while True:
            self.receive()

    def close(self) -> None:
        self._socket.close()
