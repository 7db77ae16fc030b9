"""One open page: its controls, its shape, and its wish in the line."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import viser

from fieldforge.app.archive import Archive, Kept
from fieldforge.app.controls import Controls
from fieldforge.app.maker import Maker, Shown, shown
from fieldforge.app.page_server import limit_uploads
from fieldforge.app.start import Start
from fieldforge.app.waiting_line import Line, Ticket
from fieldforge.app.wish import Picture, Wish
from fieldforge.errors import UserError, memory_shortage

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Nobody waits for this sample any more."""


@dataclass(frozen=True)
class Workshop:
    """What all visitors share.

    Args:
        maker: of samples.
        archive: where they are kept.
        line: in which wishes wait.
        start: what the controls begin with.
        upload_bytes: of a picture, at most.
        announce: tells all visitors of a finished sample.
    """

    maker: Maker
    archive: Archive
    line: Line
    start: Start
    upload_bytes: int
    announce: Callable[[Kept], None]


class Visitor:
    """A visitor has one wish at a time. Clicks come in threads of viser's, the sample in the line's."""

    def __init__(self, client: viser.ClientHandle, workshop: Workshop):
        self._client = client
        self._workshop = workshop
        self._lock = threading.Lock()
        self._ticket: Ticket | None = None
        self._shape: viser.GlbHandle | None = None
        self._latest: Kept | None = None
        self._listed: deque[Kept] = deque(maxlen=workshop.archive.recent.maxlen)
        self._count = count(1)
        self.controls = controls = Controls(client.gui, workshop.start)
        self._frame = client.scene.add_frame("/turned", show_axes=False)
        limit_uploads(client, workshop.upload_bytes, controls.say)
        controls.make.on_click(lambda _: self.ask())
        controls.stop.on_click(lambda _: self.leave())
        controls.download.on_click(lambda _: self._download(self._latest))
        if controls.send is not None and controls.forget is not None:
            controls.send.on_upload(lambda event: self.receive(event.target.value))
            controls.forget.on_click(lambda _: controls.take_picture(None))
        for kept in tuple(workshop.archive.recent):
            self.list_sample(kept)

    def ask(self) -> None:
        """Put the wish of the controls into the line; a sentence on the page where that cannot be."""
        workshop = self._workshop
        wish = self.controls.wish()
        ticket = Ticket(lambda ticket: self._fulfil(ticket, wish), self._tell_place)
        with self._lock:
            if self._ticket is not None:
                return
            self._ticket = ticket
            self.controls.set_busy(True)
        try:
            wish.check(workshop.start.max_steps)
            wish.request(workshop.maker.model)
            workshop.line.join(ticket)
        except UserError as error:
            self._end(ticket, str(error))

    def receive(self, file: viser.UploadedFile) -> None:
        """Take a picture that was sent; a sentence on the page where it cannot be used."""
        try:
            self.controls.take_picture(Picture.read(file.name, file.content))
            self.controls.say("")
        except UserError as error:
            self.controls.say(str(error))

    def leave(self) -> None:
        """Give the wish up."""
        with self._lock:
            ticket = self._ticket
        if ticket is not None:
            self._workshop.line.leave(ticket)
            self._end(ticket, "Stopped")

    def list_sample(self, kept: Kept) -> None:
        """Put a sample into the history, once."""
        if not any(kept is one for one in self._listed):
            self._listed.append(kept)
            self.controls.list_sample(kept, next(self._count), self._listed.maxlen or 1, self._choose)

    def turn(self, angle: float) -> None:
        """Turn the shape to an angle about the vertical, in radians, where the visitor lets it turn."""
        if self._shape is not None and self.controls.turn.value:
            self._frame.wxyz = (math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0)

    def show(self, what: Shown) -> None:
        """Show a shape in the scene, or a picture among the controls."""
        if not isinstance(what, bytes):
            self.controls.show_image(what)
        elif self._shape is None:
            self._shape = self._client.scene.add_glb("/turned/shape", what)
        else:
            self._shape.glb_data = what

    def _fulfil(self, ticket: Ticket, wish: Wish) -> None:
        """Make the sample of a wish, in the line's thread."""

        def look(count: int, total: int, estimate: Shown | None) -> None:
            if ticket.left:
                raise Stopped
            self.controls.advance(count, total)
            if estimate is not None:
                self.show(estimate)

        sentence = "This sample failed; the terminal of the app says why"
        try:
            made = self._workshop.maker(wish, look)
            if made.output.is_empty:
                sentence = "It came out empty: try another seed"
            else:
                self.show(shown(made.output))
                sentence = "Done"
            self.controls.say("Files are written")
            self._latest = self._workshop.archive.add(made)
            self.controls.download.disabled = self._latest.download() is None
            self._workshop.announce(self._latest)
        except Stopped:
            sentence = "Stopped"
        except UserError as error:
            sentence = str(error)
        except (RuntimeError, MemoryError) as error:
            if (shortage := memory_shortage(error)) is None:
                raise
            sentence = f"The memory is not enough ({shortage})"
        finally:
            self._end(ticket, sentence)

    def _end(self, ticket: Ticket, sentence: str) -> None:
        """Be ready for another wish, with a sentence about this one; nothing where it has ended already."""
        with self._lock:
            if self._ticket is not ticket:
                return
            self._ticket = None
            self.controls.set_busy(False)
            self.controls.say(sentence)

    def _tell_place(self, place: int) -> None:
        self.controls.say(f"Waiting: {place} before you" if place else "It begins")

    def _choose(self, kept: Kept, action: str) -> None:
        if action == "Download":
            self._download(kept)
            return
        media = kept.exhibit.media
        self.show(media.content if media is not None and media.turns else kept.exhibit.poster)

    def _download(self, kept: Kept | None) -> None:
        file = None if kept is None else kept.download()
        if file is not None:
            self._client.send_file_download(*file, save_immediately=True)
