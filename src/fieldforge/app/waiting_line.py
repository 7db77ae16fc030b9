"""One task at a time; the others wait in their order and are told their place."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from fieldforge.errors import UserError

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Ticket:
    """A place in the line.

    Args:
        work: the task, called with its ticket; it ends early where the ticket has `left`. It handles its own errors.
        told: called with the number of tasks before this one whenever that changes, at last with 0: it begins.
    """

    work: Callable[[Ticket], None]
    told: Callable[[int], None]
    _left: threading.Event = field(default_factory=threading.Event)

    @property
    def left(self) -> bool:
        """Whether nobody waits for the task any more."""
        return self._left.is_set()


class Line:
    """Tasks in the order of their tickets, one at a time, in a thread of its own; at most `most` wait."""

    def __init__(self, most: int):
        self._most = most
        self._changed = threading.Condition()
        self._waiting: list[Ticket] = []
        self._running: Ticket | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)
        self._thread.start()

    def join(self, ticket: Ticket) -> None:
        """Take a place at the end. UserError where too many wait."""
        with self._changed:
            if len(self._waiting) >= self._most:
                raise UserError(f"{len(self._waiting)} wait already, which is as many as there is room for: try later")
            self._waiting.append(ticket)
            self._changed.notify_all()
        self._tell()

    def leave(self, ticket: Ticket) -> None:
        """Give a place up; a task that runs is asked to end."""
        ticket._left.set()
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        self._tell()

    def close(self, seconds: float = 10.0) -> None:
        """Ask the running task to end, drop the others, and wait at most so long for the thread."""
        with self._changed:
            self._closed = True
            for ticket in [*self._waiting, *([self._running] if self._running else [])]:
                ticket._left.set()
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(seconds)

    def _tell(self) -> None:
        with self._changed:
            before = 0 if self._running is None else 1
            places = [(ticket, before + index) for index, ticket in enumerate(self._waiting)]
        for ticket, place in places:
            if place:
                ticket.told(place)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                self._running = ticket = self._waiting.pop(0)
            try:
                self._tell()
                ticket.told(0)
                ticket.work(ticket)
            except Exception:  # the line goes on
                log.exception("a task of the line failed")
            finally:
                with self._changed:
                    self._running = None
                self._tell()
