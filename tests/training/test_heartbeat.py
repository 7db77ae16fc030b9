"""Who waits for another process's share of work learns that it is gone."""

import multiprocessing
import os
import time

import pytest
import torch.distributed as dist

from fieldforge.training.processes import heartbeat
from fieldforge.training.processes.heartbeat import Sign, alive


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    monkeypatch.setattr(heartbeat, "PATIENCE", 0.5)


def watch(sign: Sign, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sign.look()
        time.sleep(0.01)


def test_who_gives_signs_is_waited_for_and_who_gives_none_any_more_is_gone(fast):
    store = dist.HashStore()
    sign = Sign(store, "work", 3)
    watch(sign, 0.7)  # it has not begun yet: nothing is known of it
    with alive(store, "work", 3):
        watch(sign, 1.0)
    with pytest.raises(RuntimeError, match="process 3 is gone"):
        watch(sign, 5.0)


def live_and_die(port: int) -> None:
    heartbeat.BEAT = 0.05
    with alive(dist.TCPStore("127.0.0.1", port, is_master=False), "work", 1):
        time.sleep(0.3)
        os._exit(9)  # as the system kills


def test_a_killed_process_is_noticed(fast):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    process = multiprocessing.get_context("spawn").Process(target=live_and_die, args=(store.port,))
    process.start()
    with pytest.raises(RuntimeError, match="process 1 is gone"):
        watch(Sign(store, "work", 1), 60.0)
    process.join()
    assert process.exitcode == 9
