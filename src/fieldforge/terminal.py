"""What a terminal gets to see: text without control characters, and one line of progress."""

import logging
import shutil
import sys
import time
from dataclasses import dataclass

SECONDS_BETWEEN_LINES = 60.0
"""Where a line cannot overwrite the one before, in a log say, progress is a line a minute."""

_JOINERS = "\u200c\u200d"
"""Scripts and emoji need them, and they move no cursor."""


def printable(text: str, keep: str = "") -> str:
    r"""`text` without what a terminal would obey or hide: such characters are spelt out, but those in `keep`.

    Control characters (the ESC of colours, cursor moves and window titles), marks that turn the reading direction
    around, line separators, and what a file name held that is not UTF-8.

    >>> printable("chair\x1b[31m red\r")
    'chair\\x1b[31m red\\r'
    """
    if text.isprintable():
        return text
    harmless = _JOINERS + keep
    return "".join(
        letter if letter.isprintable() or letter in harmless or _is_space(letter) else ascii(letter)[1:-1]
        for letter in text
    )


def _is_space(letter: str) -> bool:
    """Spaces of a width of their own count as not printable; they are harmless."""
    return letter == "\xa0" or "\u2000" <= letter <= "\u200a" or letter in "\u202f\u205f\u3000"


class Formatter(logging.Formatter):
    """Log lines of a terminal: names of strangers' files stand in them."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


def result(*lines: str) -> None:
    """What a command was asked for, on stdout; names of strangers' files may stand in it."""
    print("\n".join(map(printable, lines)), flush=True)


def say(line: str) -> None:
    """A sentence on stderr. OSError where the terminal is gone."""
    print(printable(line), file=sys.stderr, flush=True)


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """For `warnings.formatwarning`: what a library says, in which names of strangers' files may stand."""
    return printable(f"warning: {message} ({category.__name__})", keep="\n\t") + "\n"


def duration(seconds: float | None) -> str:
    """A time span in the two largest units that it has; ? where it is unknown.

    >>> [duration(seconds) for seconds in (0.0123, 5, 65, 3725, 100_000)]
    ['12 ms', '5 s', '1 min 05 s', '1 h 02 min', '1 d 03 h']
    """
    if seconds is None:
        return "?"
    if 0 < seconds < 1:
        return f"{_two_digits(1000 * seconds)} ms"
    for length, unit, part, name in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit} {int(seconds % length // part):02d} {name}"
    return f"{_two_digits(seconds)} s"


def quantity(number: int, noun: str) -> str:
    """A number of things, with the plural that it needs.

    >>> quantity(1, "step"), quantity(2048, "step"), quantity(0, "class")
    ('1 step', '2,048 steps', '0 classes')
    """
    plural = noun if number == 1 else f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{number:,} {plural}"


def _two_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 9.95 else f"{number:.2g}"


_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


@dataclass
class _Line:
    text: str = ""  # the newest, not shown yet where lines are a minute apart
    shown: float | None = None  # when the last line was


_line = _Line()


def status(text: str) -> None:
    """Show how far the work is, in place of the text before; an empty text ends it and leaves the last one standing.

    Where stderr is no terminal: a line a minute, and the last one.
    """
    now, text = time.monotonic(), printable(text)
    if sys.stderr.isatty():
        room = max(shutil.get_terminal_size().columns - 1, 20)  # a wrapped line could not be overwritten
        print(f"\r{text[:room]}\x1b[K" if text else "", end="" if text else "\n", file=sys.stderr, flush=True)
        return
    if _line.shown is None:
        _line.shown = now  # the first line after a minute: short work needs only its last
    if text:
        _line.text = text
        if now - _line.shown < SECONDS_BETWEEN_LINES:
            return
    if _line.text:
        print(_line.text, file=sys.stderr, flush=True)
    _line.text, _line.shown = "", now if text else None


def count(name: str, done: int, total: int) -> None:
    """Show `name: done/total` as `status` does, and end it at the last one."""
    status(f"{name}: {done}/{total}")
    if done == total:
        status("")
