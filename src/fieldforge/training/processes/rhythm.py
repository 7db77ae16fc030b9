"""At which steps the processes of a training agree: a collective in each would cost more than some steps."""

from __future__ import annotations

import time

from fieldforge.training.processes import ranks

LONGEST = 32  # steps between them, so that slower steps do not put off the next for long


class Rhythm:
    """Steps of agreement, the same in all processes, the first step among them.

    Where there is one process it is every step.

    Args:
        seconds: about so long between agreements; 0: in every step.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self._next, self._last, self._since = 0, 0, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the processes agree at this step. A collective where it is true."""
        if step < self._next:
            return False
        if ranks.world() > 1:
            seconds = ranks.of_first(time.monotonic() - self._since)
            pace = (step - self._last) / max(seconds, 1e-3)  # steps a second
            self._next = step + min(max(1, int(pace * self.seconds)), LONGEST)
            self._last, self._since = step, time.monotonic()
        return True
