"""What reaches a terminal."""

import logging
import sys

import pytest

from fieldforge import terminal
from fieldforge.terminal import Formatter, duration, format_warning, printable, quantity, result, say, status


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a red armchair", "a red armchair"),
        ("Stühle 椅子 🪑 [red]bold[/red]", "Stühle 椅子 🪑 [red]bold[/red]"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("one\rtwo\x9b2J\x7f", "one\\rtwo\\x9b2J\\x7f"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("exe\u202egnp.x", "exe\\u202egnp.x"),
        ("line\u2028separator", "line\\u2028separator"),
        ("not\udcff utf-8", "not\\udcff utf-8"),
        ("no\xa0break, thin\u2009space, zero\u200djoiner", "no\xa0break, thin\u2009space, zero\u200djoiner"),
    ],
)
def test_control_characters_are_spelt_out(text: str, shown: str):
    assert printable(text) == shown
    assert printable(text).encode() == shown.encode()


def test_log_lines_keep_their_breaks_alone():
    line = logging.makeLogRecord({"msg": "%s\n\tis fine", "args": ("\x1b[2J",)})
    assert Formatter("%(message)s").format(line) == "\\x1b[2J\n\tis fine"


def test_what_libraries_warn_of_holds_no_escapes():
    line = format_warning(UserWarning("cannot read \x1b]0;title\x07.png"), UserWarning, "a.py", 1)
    assert line == "warning: cannot read \\x1b]0;title\\x07.png (UserWarning)\n"


def test_results_and_sentences_are_lines_without_escapes(capsys):
    result("one\x1b[2J\ntwo", "three")
    say("four\x1b]0;title\x07\nfive")
    shown = capsys.readouterr()
    assert shown.out == "one\\x1b[2J\\ntwo\nthree\n"
    assert shown.err == "four\\x1b]0;title\\x07\\nfive\n"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(terminal, "_line", terminal._Line())
    return now


def test_progress_without_a_terminal_is_a_line_a_minute_and_the_last(clock: list[float], capsys):
    for second in range(0, 150, 10):
        clock[0] = second
        status(f"{second} s \x1b[2J")
    status("")
    assert capsys.readouterr().err == "60 s \\x1b[2J\n120 s \\x1b[2J\n140 s \\x1b[2J\n"
    status("")
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_overwrites_itself(clock: list[float], capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    status("chair \x1b[31m" + "x" * 50)
    status("")
    assert capsys.readouterr().err == "\rchair \\x1b[31mxxxxxxxxxxxxxxx" + "\x1b[K\n"


def test_durations_have_one_style():
    seconds = (None, 0, 0.0123, 0.5, 5, 7.25, 59, 60, 3725, 86_399, 100_000, 10_000_000)
    assert [duration(number) for number in seconds] == [
        *("?", "0 s", "12 ms", "500 ms", "5 s", "7.2 s", "59 s", "1 min 00 s", "1 h 02 min"),
        *("23 h 59 min", "1 d 03 h", "115 d 17 h"),
    ]


def test_one_thing_needs_no_plural():
    shown = [quantity(number, noun) for number, noun in ((1, "sample"), (0, "step"), (2048, "step"), (3, "class"))]
    assert shown == ["1 sample", "0 steps", "2,048 steps", "3 classes"]
