"""The app: a server, its visitors and what they share."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import time

import viser

from fieldforge.app.archive import Archive, Kept
from fieldforge.app.maker import Maker
from fieldforge.app.page_server import open_server
from fieldforge.app.settings import AppSettings
from fieldforge.app.start import Start
from fieldforge.app.visitor import Visitor, Workshop
from fieldforge.app.waiting_line import Line

log = logging.getLogger(__name__)
TURN = 0.6  # radians a second
FRAME = 1 / 20  # seconds


class App:
    """Serves pages until it is closed. UserError where nothing can listen on its address."""

    def __init__(self, maker: Maker, archive: Archive, start: Start, settings: AppSettings):
        self._settings = settings
        self._lock = threading.Lock()
        self.visitors: dict[int, Visitor] = {}
        self._line = Line(settings.waiting)
        self._workshop = Workshop(maker, archive, self._line, start, int(settings.upload_mb * 1e6), self._announce)
        self._server = server = open_server(settings.host, settings.port, settings.is_local)
        server.scene.set_up_direction("+y")
        server.scene.configure_environment_map(None)  # as shadows, it makes a browser without a GPU crawl
        server.scene.configure_default_lights(cast_shadow=False)
        server.scene.add_light_ambient("/light", intensity=1.5)
        server.initial_camera.position = (2.1, 1.6, 3.4)
        server.initial_camera.look_at = (0.0, 0.0, 0.0)
        server.initial_camera.fov = 0.7
        server.gui.configure_theme(show_logo=False, show_share_button=False)
        server.gui.main_panel.dock_right()
        server.on_client_connect(self._welcome)
        server.on_client_disconnect(self._see_off)

    @property
    def url(self) -> str:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._server.get_port()}"

    def turn(self) -> None:
        """Turn the shapes of all visitors, until Ctrl-C."""
        while True:
            with self._lock:
                visitors = tuple(self.visitors.values())
            for visitor in visitors:
                visitor.turn(TURN * time.monotonic() % 6.283185)
            time.sleep(FRAME if visitors else 0.5)

    def close(self) -> None:
        """Ask the running sample to end, and close all pages."""
        self._line.close()
        with contextlib.redirect_stdout(io.StringIO()):  # its farewell
            self._server.stop()

    def _welcome(self, client: viser.ClientHandle) -> None:
        with self._lock:
            if len(self.visitors) >= self._settings.visitors:
                client.gui.add_markdown(f"{len(self.visitors)} pages are open, which is as many as may be. Try later.")
                return
            self.visitors[client.client_id] = Visitor(client, self._workshop)

    def _see_off(self, client: viser.ClientHandle) -> None:
        with self._lock:
            visitor = self.visitors.pop(client.client_id, None)
        if visitor is not None:
            visitor.leave()

    def _announce(self, kept: Kept) -> None:
        with self._lock:
            visitors = tuple(self.visitors.values())
        for visitor in visitors:
            visitor.list_sample(kept)
