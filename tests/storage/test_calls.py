"""Calls in threads of their own give what they give otherwise, and leave nothing behind."""

import gc
import threading
import time

import pytest

from fieldforge.storage import calls, waiting
from fieldforge.storage.calls import DaemonPool, interruptible


def refuse() -> None:
    raise FileNotFoundError("nowhere")


def ignore(seconds: float) -> None:
    pass


def test_results_and_errors_are_those_of_the_call():
    assert interruptible(lambda: 7, ignore) == 7
    with pytest.raises(FileNotFoundError, match="nowhere"):
        interruptible(refuse, ignore)


def test_the_wait_counts_as_one_for_data():
    began = time.monotonic() - 100
    assert interruptible(waiting.seconds, ignore, since=began) >= 100
    assert waiting.seconds() == 0


def test_a_long_wait_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(calls, "LOOK_SECONDS", 0.01)
    end, looks = threading.Event(), []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            end.set()

    assert interruptible(lambda: end.wait(20), look)
    assert len(looks) >= 3
    assert looks == sorted(looks)


def test_a_pool_works_on_after_an_error_and_its_threads_end_with_it():
    pool = DaemonPool(2, "a pool of a test")
    assert isinstance(pool.submit(refuse).exception(), FileNotFoundError)
    assert [pool.submit(lambda number=number: number**2).result() for number in range(5)] == [0, 1, 4, 9, 16]
    threads = [thread for thread in threading.enumerate() if thread.name == "a pool of a test"]
    assert len(threads) == 2
    assert all(thread.daemon for thread in threads)
    del pool
    gc.collect()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
