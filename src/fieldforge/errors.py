"""The exceptions that are shown to users."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

EXIT_MISTAKE = 2
EXIT_UNFINISHED = 85  # a scheduler may start the same command again: it goes on


class UserError(ValueError):
    """Bad input from outside: a config key, an asset, a shard, a checkpoint, a prompt file.

    Its message is one sentence that says what is wrong, where, and what to do. Entry points print it without a
    traceback and leave with exit code 2.
    """

    exit_code = EXIT_MISTAKE
    everywhere = True  # in a training of several processes: the first one meets it too, and prints it for all


class Unfinished(UserError):
    """Nobody's mistake, and it passes: a process that was killed, a store that stays away. The same command goes on."""

    exit_code = EXIT_UNFINISHED


_SHORTAGE = ("out of memory", "defaultcpuallocator", "alloc_failed", "cannot allocate memory")


def memory_shortage(error: BaseException) -> str | None:
    """What an error says of a machine's memory that is not enough, in a line; None for any other error."""
    line = " ".join(str(error).split("\n")[0].split()).rstrip(".")
    if isinstance(error, MemoryError):
        return line or "out of memory"
    short = isinstance(error, RuntimeError) and any(sign in line.lower() for sign in _SHORTAGE)
    return line[:200] if short else None  # torch's own go on about its settings


@contextmanager
def memory_advice(what: str, advice: str) -> Iterator[None]:
    """Turns an error of a memory that is not enough for `what` into a UserError with `advice`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        reason = memory_shortage(error)
        if reason is None:
            raise
        raise UserError(f"{what} does not fit into memory ({reason}): {advice}") from error


def the_first(words: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` of the words, and how many more there are, for messages."""
    rest = len(words) - most
    return separator.join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def install_command(extra: str) -> str:
    """The command that installs an extra, for messages."""
    return f"pip install '.[{extra}]' in the folder of Fieldforge's source"
