"""What viser leaves open is closed: other pages, tunnels, large uploads, ports that are taken, files beside its own."""

import http.client
import socket
import time

import pytest

pytest.importorskip("viser", reason="needs pip install '.[app]'")
from tests.app.socket_visitor import SocketVisitor
from viser import _messages as messages
from websockets.exceptions import ConnectionClosed

from fieldforge.app.page_server import LOOPBACK, PART, is_own_page, limit_uploads, open_server
from fieldforge.errors import UserError

MOST = 3 * PART


@pytest.fixture(scope="module")
def server():
    server = open_server("127.0.0.1", 0, is_local=True)
    yield server
    server.stop()


@pytest.fixture
def url(server) -> str:
    return f"http://127.0.0.1:{server.get_port()}"


@pytest.fixture
def client(server, url):
    """A visitor, its client of viser, the files that came, and the sentences it is told."""
    before = set(server.get_clients())
    visitor = SocketVisitor(url, url)
    visitor.enter()
    [number] = wait_for(lambda: set(server.get_clients()) - before)
    client = server.get_clients()[number]
    button = client.gui.add_upload_button("Picture")
    files: list[bytes] = []
    told: list[str] = []
    button.on_upload(lambda event: files.append(event.target.value.content))
    limit_uploads(client, MOST, told.append)
    yield visitor, button._impl.uuid, files, told
    visitor.close()


def wait_for(what, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)
    return value


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_pages_of_other_addresses_are_turned_away(server, url, origin):
    visitor = SocketVisitor(url, origin)
    with pytest.raises(ConnectionClosed) as closed:
        visitor.receive_all()
    assert closed.value.rcvd.code == 1008
    visitor.close()


def test_own_pages_and_programs_come_in(server, url):
    for origin in (url, None):
        before = set(server.get_clients())
        visitor = SocketVisitor(url, origin)
        visitor.enter()
        wait_for(lambda before=before: set(server.get_clients()) - before)
        visitor.close()


def test_a_name_from_outside_that_leads_here_is_none_of_this_machine():
    assert is_own_page("http://localhost:8080", "localhost:8080", LOOPBACK)
    assert is_own_page("http://[::1]:8080", "[::1]:8080", LOOPBACK)
    assert not is_own_page("http://evil.example:8080", "evil.example:8080", LOOPBACK)
    assert not is_own_page(None, "evil.example:8080", LOOPBACK)
    assert is_own_page("http://studio.example:8080", "studio.example:8080", None)
    assert not is_own_page("http://evil.example", "studio.example:8080", None)


def test_nobody_opens_a_tunnel(server):
    handlers = server._websock_server._incoming_handlers
    assert not {messages.ShareUrlRequest, messages.ShareUrlDisconnect} & handlers.keys()


@pytest.mark.parametrize(
    "path", ["/../../pyproject.toml", "/%2e%2e/%2e%2e/_viser.py", "//etc/passwd", "/..%5c..%5c_viser.py"]
)
def test_no_path_leaves_the_folder_of_the_page(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.get_port(), timeout=10)
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


def test_a_taken_port_is_a_sentence(server):
    with pytest.raises(UserError, match=r"port=\d+ cannot be listened on"):
        open_server("127.0.0.1", server.get_port(), is_local=True)
    with pytest.raises(UserError, match=r"host=192\.0\.2\.1 port=0 cannot be listened on"):
        open_server("192.0.2.1", 0, is_local=False)


def test_a_port_that_is_taken_meanwhile_is_not_replaced_by_another(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr("fieldforge.app.page_server.check_free", lambda host, port: None)
        with pytest.raises(UserError, match="was taken just now"):
            open_server("127.0.0.1", other.getsockname()[1], is_local=True)


def begin(visitor, button: str, size: int, parts: int, transfer: str = "t") -> None:
    visitor.send(
        type="FileTransferStartUpload",
        **{"source_component_uuid": button, "transfer_uuid": transfer, "filename": "../../x.png"},
        **{"mime_type": "image/png", "part_count": parts, "size_bytes": size},
    )


def part(visitor, button: str, index: int, content: bytes, transfer: str = "t") -> None:
    visitor.send(
        type="FileTransferPart",
        **{"source_component_uuid": button, "transfer_uuid": transfer, "part_index": index, "content": content},
    )


def test_a_file_within_the_limit_arrives(client):
    visitor, button, files, told = client
    begin(visitor, button, 6, 2)
    part(visitor, button, 0, b"abc")
    part(visitor, button, 1, b"def")
    wait_for(lambda: files)
    assert (files, told) == ([b"abcdef"], [])


def test_larger_files_several_at_a_time_and_lies_about_the_size_do_not(client):
    visitor, button, files, told = client
    begin(visitor, button, MOST + 1, 1)
    part(visitor, button, 0, b"x" * (MOST + 1))
    begin(visitor, button, 4, 1_000_000)  # empty parts
    begin(visitor, button, 4, 2, "first")
    begin(visitor, button, 4, 1, "second")
    wait_for(lambda: len(told) == 3)
    part(visitor, button, 0, b"x" * 5, "first")  # more than it said
    begin(visitor, button, 2, 1, "third")
    part(visitor, button, 0, b"ok", "third")
    wait_for(lambda: files)
    assert files == [b"ok"]
    assert set(told) == {"Pictures of up to 0.196608 MB can be sent, one at a time."}
