"""Processes that do not find each other: a sentence in time, and a signal is heard while they wait."""

import signal
import socket
import threading
import time

import pytest

from fieldforge.errors import UserError
from fieldforge.training.processes import interruption
from fieldforge.training.processes.meeting import meet


@pytest.fixture
def port(monkeypatch):
    """A port that is another program's: it accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(number), "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        yield server
    interruption.forget()


def sentence(minutes: float) -> str:
    with pytest.raises(UserError) as mistake:
        meet(minutes)
    assert not mistake.value.everywhere
    assert "check MASTER_ADDR, MASTER_PORT" in str(mistake.value)
    return str(mistake.value)


def test_nobody_listens(port, monkeypatch, capfd):
    monkeypatch.setenv("RANK", "1")
    port.close()
    assert "refused" in sentence(0.01)
    assert not capfd.readouterr().err


def test_another_program_listens_and_is_silent(port, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("fieldforge.training.processes.meeting._GRACE", 1.0)
    assert "does not answer" in sentence(0.01)


def test_the_port_of_the_first_is_in_use(port, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert "address already in use" in sentence(1)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_the_first_has_a_name_that_nobody_knows(rank, port, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("MASTER_ADDR", "nowhere.invalid")
    assert "nowhere.invalid" in sentence(0.01)


def test_a_signal_ends_the_wait(port, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with socket.create_server(("127.0.0.1", 0)) as held:
        free = held.getsockname()[1]
    monkeypatch.setenv("MASTER_PORT", str(free))
    monkeypatch.setattr(interruption, "LONGEST_WAIT", 1.0)
    threading.Timer(0.5, interruption.note, [signal.SIGTERM]).start()
    began = time.process_time()
    with pytest.raises(interruption.Interrupted, match="SIGTERM"):
        meet(30)
    assert time.process_time() - began < 5
