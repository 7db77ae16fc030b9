"""viser's server with what it leaves open closed: pages of its own alone, no public tunnel, uploads of limited size.

viser accepts a connection from any page in the browser, opens a tunnel to the internet where a client asks for one,
takes another port where its own is taken, and keeps uploads of any size in memory. These guards hold on to private
names of viser, so pyproject.toml pins its minor version, and tests try each guard.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import warnings
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

import viser
from viser import _messages as messages
from viser.infra import WebsockClientConnection

from fieldforge.errors import UserError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PART = 64 * 1024  # bytes; smaller parts of an upload only cost memory for their list
POLICY = 1008  # the code of a WebSocket's end by a rule of the server (RFC 6455, section 7.4.1)


def open_server(host: str, port: int, is_local: bool) -> viser.ViserServer:
    """The server, which accepts pages of its own address alone.

    Raises:
        UserError: the port is taken, or the address is none of this machine.
    """
    check_free(host, port)
    logging.getLogger("websockets").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "Queued a .* on a closed connection", UserWarning)  # a page may close any moment
    with contextlib.redirect_stdout(io.StringIO()):  # its banner
        server = viser.ViserServer(host, port, label="Fieldforge", verbose=False)
    if port and server.get_port() != port:
        server.stop()
        raise UserError(f"port={port} was taken just now: give another one, or 0 for any")
    sockets = server._websock_server
    names = {*LOOPBACK, host} if is_local else None
    sockets.unregister_handler(messages.ShareUrlRequest)
    sockets.unregister_handler(messages.ShareUrlDisconnect)

    async def admit(connection: WebsockClientConnection) -> None:
        live = sockets._live_connections[connection.client_id]
        headers = live.request.headers if live.request is not None else {}
        if not is_own_page(headers.get("Origin"), headers.get("Host", ""), names):
            await live.close(POLICY, "this page is of another address")

    sockets.on_client_connect(admit)
    return server


def check_free(host: str, port: int) -> None:
    """UserError where nothing can listen there."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(
            f"host={host} port={port} cannot be listened on ({error.strerror or error}): give another port=, such as 0 "
            "for any free one, and an address of this machine"
        ) from error


def is_own_page(origin: str | None, host: str, names: Collection[str] | None) -> bool:
    """Whether a connection comes from a page of this server, or from a program that is no browser.

    Args:
        origin: of the page, as the browser sends it; None: no browser.
        host: the address that was asked for.
        names: of a server that listens on this machine alone, so that no name from outside that leads here passes (DNS
            rebinding); None: any.
    """
    known = names is None or urlsplit(f"//{host}").hostname in names
    return known and (origin is None or urlsplit(origin).netloc == host)


def limit_uploads(client: viser.ClientHandle, most: int, tell: Callable[[str], None]) -> None:
    """Let a client send one file at a time, of at most `most` bytes; `tell` gets the sentence about a larger one."""
    gui, connection = client.gui, client._websock_connection
    sizes: dict[str, int] = {}  # transfer → bytes that may still come

    def begin(client_id: int, message: messages.FileTransferStartUpload) -> None:
        if sizes or not 0 < message.size_bytes <= most or message.part_count > 1 + most // PART:
            tell(f"Pictures of up to {most / 1e6:g} MB can be sent, one at a time.")
            done = messages.FileTransferPartAck(
                message.source_component_uuid, message.transfer_uuid, message.size_bytes, message.size_bytes
            )
            connection.queue_message(done)
            return
        sizes[message.transfer_uuid] = message.size_bytes
        gui._handle_file_transfer_start(client_id, message)  # type: ignore[arg-type]

    def take(client_id: int, message: messages.FileTransferPart) -> None:
        if message.transfer_uuid not in sizes:
            return
        sizes[message.transfer_uuid] -= len(message.content)
        if sizes[message.transfer_uuid] < 0:
            gui._drop_uploads_from_client(client_id)  # type: ignore[arg-type]
        else:
            gui._handle_file_transfer_part(client_id, message)  # type: ignore[arg-type]
        if sizes[message.transfer_uuid] <= 0:
            del sizes[message.transfer_uuid]

    connection.unregister_handler(messages.FileTransferStartUpload)
    connection.unregister_handler(messages.FileTransferPart)
    connection.register_handler(messages.FileTransferStartUpload, begin)
    connection.register_handler(messages.FileTransferPart, take)
