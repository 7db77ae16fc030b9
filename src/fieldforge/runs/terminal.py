"""One line of progress that overwrites itself, for those who watch."""

import sys


def status(text: str) -> None:
    """Show the text in place of the one before; nothing where stderr is not a terminal. An empty text ends the line."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K" if text else "", end="" if text else "\n", file=sys.stderr, flush=True)
