"""What is only watched may be lost; what asks a training to stop is heard."""

import errno
import os
import signal
from pathlib import Path

import pytest
from tests.training.small import train

from fieldforge.data.loader_workers import loss_of_worker
from fieldforge.nn.ema import PlainDecay
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.metrics_table import MetricsTable, read_table
from fieldforge.training.callbacks.picture_log import Pictures
from fieldforge.training.processes import interruption

WHOLE = b"step,loss\r\n0,0.5\r\n1,0.25\r\n"


@pytest.mark.parametrize(
    ("damaged", "steps"),
    [
        (WHOLE + b"2,0.1", {0, 1}),  # half a line, which looks like a whole one
        (WHOLE + b"2\r\n3,0.1\r\n", {0, 1, 3}),
        (WHOLE + bytes(512), {0, 1}),
        (bytes(512), set()),
        (b"step,loss\r\n0,0.5\r\n" + bytes(64) + b"\r\n2,0.1\r\n", {0, 2}),
        (WHOLE + b"2,0.1\xff\r\n", {0, 1}),
        (b"\x89PNG\xff\xfe" + WHOLE, set()),
        (WHOLE + b"2,a\r\nx,1\r\n2.5,1\r\n", {0, 1}),
        (WHOLE + b"2,0.1,0.3\r\n", {0, 1}),
        (b"step", set()),
        (b"loss,rate\r\n1,2\r\n", set()),
    ],
)
def test_garbled_table_keeps_what_can_be_read_and_goes_on(tmp_path, caplog, damaged, steps):
    (tmp_path / "metrics.csv").write_bytes(damaged)
    assert read_table(tmp_path / "metrics.csv").keys() == steps
    table = MetricsTable(tmp_path)
    table.log_metrics({"loss": 1.0}, 9)
    table.finalize("success")
    assert read_table(tmp_path / "metrics.csv").keys() == {*steps, 9}
    assert (tmp_path / "metrics.damaged.csv").read_bytes() == damaged
    assert caplog.text.count("metrics.csv was damaged") == 1


@pytest.mark.parametrize("fine", [b"", WHOLE, WHOLE.replace(b"\r", b""), b"step,loss\r\n"])
def test_whole_table_is_not_put_aside(tmp_path, caplog, fine):
    (tmp_path / "metrics.csv").write_bytes(fine)
    MetricsTable(tmp_path).log_metrics({"loss": 1.0}, 9)
    assert (tmp_path / "metrics.csv").read_bytes() == fine
    assert not caplog.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_table_that_cannot_be_written_is_one_warning_and_nothing_is_lost(tmp_path, monkeypatch, caplog, number):
    table = MetricsTable(tmp_path)
    replace = os.replace

    def refuse(*places: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    for step in range(3):
        table.log_metrics({"loss": float(step)}, step)
        table.save()
    table.finalize("failed")
    assert caplog.text.count("training goes on without it") == 1
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(os, "replace", replace)
    table.save()
    assert read_table(tmp_path / "metrics.csv").keys() == {0, 1, 2}


def test_picture_that_cannot_be_written_ends_no_training(tmp_path, caplog):
    def draw(module, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    ema = EMACallback(PlainDecay(0.9))
    module = train(tmp_path, Pictures(every_minutes=0.0), ema=ema, draw=draw, steps=4)
    assert module.trainer.global_step == 4
    assert caplog.text.count("training goes on without it") == 1


def test_closed_terminal_is_heard_unless_it_is_to_be_ignored(monkeypatch):
    interruption.install()
    signal.raise_signal(signal.SIGHUP)
    assert interruption.noted() is signal.SIGHUP
    assert interruption.Interrupted(interruption.noted()).exit_code == interruption.EXIT_UNFINISHED
    interruption.forget()
    interruption.uninstall()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    interruption.install()
    signal.raise_signal(signal.SIGHUP)
    assert interruption.noted() is None
    interruption.uninstall()
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN


def test_terminal_that_is_gone_fails_no_print():
    master, slave = os.openpty()
    kept = os.dup(2)
    try:
        os.dup2(slave, 2)
        os.close(slave)
        os.close(master)
        with pytest.raises(OSError, match="Input/output error"):
            os.write(2, b"lost")
        interruption.install()
        signal.raise_signal(signal.SIGHUP)
        os.write(2, b"goes nowhere")
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_one_more_ctrl_c_ends_a_process_that_does_not_stop(monkeypatch):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    interruption.forget()
    interruption.hold_ctrl_c()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert interruption.leaves()
    with pytest.raises(KeyboardInterrupt):  # the process would be gone before
        signal.raise_signal(signal.SIGINT)
    assert left == [interruption.EXIT_CTRL_C]


def test_killed_worker_is_nobodys_mistake():
    error = loss_of_worker(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    assert error.exit_code == interruption.EXIT_UNFINISHED
    assert str(error).startswith("a data worker is gone (killed): ")
    assert "left unexpectedly" in str(loss_of_worker(RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")))
    assert loss_of_worker(RuntimeError("CUDA error")) is None
