"""At which steps the processes of a training agree: a collective in each would cost more than some steps."""

from __future__ import annotations

import time

from fieldforge.training.processes import ranks

SECONDS = 1.0  # about so long between agreements
LONGEST = 32  # steps between them, so that slower steps do not put off the next for long


class Rhythm:
    """Steps of agreement, the same in all processes: about one a second, the first step among them.

    Where there is one process it is every step.
    """

    def __init__(self) -> None:
        self._next, self._last, self._since = 0, 0, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the processes agree at this step. A collective where it is true."""
        if step < self._next:
            return False
        if ranks.world() > 1:
            seconds = ranks.of_first(time.monotonic() - self._since)
            pace = (step - self._last) / max(seconds, 1e-3)  # steps a second
            self._next = step + min(max(1, int(pace * SECONDS)), LONGEST)
            self._last, self._since = step, time.monotonic()
        return True
