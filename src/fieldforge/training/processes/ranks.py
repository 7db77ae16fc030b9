"""The processes of a training as one: they agree, wait for each other, and fail together.

Agreement goes through small tensors on the CPU (a gloo group stands beside NCCL), waiting through the store by which
processes find each other: that takes as long as it takes, and ends at once when the first process is gone. With a
single process everything here is free.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

from fieldforge.errors import UserError
from fieldforge.training.processes import interruption
from fieldforge.training.processes.meeting import meet

_DONE, _MISTAKE, _STOPPED, _BROKEN = "done:", "mistake:", "stopped:", "broken:"
_SIGNS_OF_LOSS = ("connection closed", "connection reset", "broken pipe", "gloo/transport", "nccl")
_store: dist.Store | None = None
_numbers = itertools.count()


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def connect(backend: str, minutes: float) -> None:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe.

    Args:
        backend: as torch.distributed names it; it must be able to reduce tensors on the CPU.
        minutes: after which a process that waits for another one's tensors gives up.

    Raises:
        UserError: the processes do not find each other.
        Interrupted: something asks to stop, and not all have come soon after.
    """
    global _store, _numbers
    timeout = timedelta(minutes=minutes)
    meeting, number, size = meet(minutes)
    store = dist.PrefixStore(_attempt(), meeting)
    store.set_timeout(timeout)
    try:
        dist.init_process_group(
            backend, store=dist.PrefixStore("group", store), rank=number, world_size=size, timeout=timeout
        )
    except (dist.DistError, RuntimeError, OSError) as error:
        raise UserError(
            f"the processes of this training find each other, but cannot talk ({str(error).splitlines()[0]}): check "
            "that all were started, and GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME"
        ) from error
    _store, _numbers = dist.PrefixStore("fieldforge", store), itertools.count()


def _attempt() -> str:
    """Keeps apart what processes say that torchrun starts anew: on one machine it hands them the same store again."""
    alone = os.environ.get("GROUP_WORLD_SIZE") == "1"  # machines do not count alike
    return f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0) if alone else 0}"


def disconnect(seconds: float = 15.0) -> None:
    """Leave the group, if there is one; the first process, which may keep the store, leaves last, if all come soon."""
    global _store
    if _store is not None:
        left, deadline = _store.add("left", 1), time.monotonic() + seconds
        while rank() == 0 and left < world() and time.monotonic() < deadline:
            time.sleep(0.05)
            left = _store.add("left", 0)
    _store = None
    if dist.is_initialized():
        dist.destroy_process_group()


def is_loss(error: RuntimeError) -> bool:
    """Whether it says that another process of the group is gone."""
    lost = isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in _SIGNS_OF_LOSS)
    return world() > 1 and lost


def announce(code: int) -> None:
    """Say with which exit code this process leaves in the middle of things: the others find it gone."""
    with contextlib.suppress(RuntimeError):  # who keeps the store may be gone
        if _store is not None and world() > 1:
            _store.set("code", str(code))


def abandon() -> int | None:
    """Ask nothing of the others any more; the exit code that one has announced, None where it was killed."""
    global _store
    store, _store = _store, None
    with contextlib.suppress(RuntimeError):
        return int(store.get("code")) if store is not None and store.check(["code"]) else None
    return None


def first_says_too(message: str, seconds: float = 5.0) -> bool:
    """Called by each process that fails: does the first one, too, and say the same? True where nobody can be asked."""
    if _store is None or world() == 1:
        return True
    if rank() == 0:
        _store.set("said", message)
        return True
    deadline = time.monotonic() + seconds
    while not _store.check(["said"]):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return _store.get("said").decode() == message


def most(*values: float) -> list[float]:
    """Each value's maximum over all processes; a collective."""
    if world() == 1:
        return list(values)
    held = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(held, dist.ReduceOp.MAX)
    return held.tolist()


def agreed(*flags: bool) -> list[bool]:
    """Each flag is true for all processes if it is true for any; a collective."""
    return [value > 0 for value in most(*map(float, flags))]


def of_first(value: float) -> float:
    """The first process's value; a collective."""
    if world() == 1:
        return value
    held = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(held, 0)
    return float(held)


def of_all(word: str) -> list[str]:
    """What each process says, by rank; a collective."""
    if _store is None or world() == 1:
        return [word]
    key = f"all/{next(_numbers)}"
    _store.set(f"{key}/{rank()}", word)
    return [_store.get(f"{key}/{number}").decode() for number in range(world())]


def together(work: Callable[[], None]) -> None:
    """Every process does its part; where one fails with a user's error, all raise one. A collective.

    Raises:
        UserError: this process's own, or that another one has failed.
    """
    mistake: UserError | None = None
    try:
        work()
    except UserError as error:
        mistake = error
    failed = int(most(-1.0 if mistake is None else float(rank()))[0])
    if mistake is not None:
        raise mistake
    if failed >= 0:
        raise UserError(f"process {failed} of {world()} has failed, its message says why")


def first_alone(work: Callable[[], str | None]) -> str:
    """Do `work` in the first process while the others wait, however long it takes; what it returns, all return.

    Raises:
        UserError, Interrupted: all raise what `work` raised.
        RuntimeError: `work` has failed otherwise in the first process.
    """
    if _store is None or world() == 1:
        return work() or ""
    key = f"alone/{next(_numbers)}"
    if rank() == 0:
        outcome = _BROKEN
        try:
            result = work() or ""
            outcome = _DONE + result
            return result
        except UserError as error:
            outcome = _MISTAKE + str(error)
            raise
        except interruption.Interrupted as stop:
            outcome = _STOPPED + str(interruption.code(stop.by))
            raise
        finally:
            _store.set(key, outcome)
    while not _store.check([key]):
        _pass_on()
        time.sleep(0.1)
    outcome = _store.get(key).decode()
    if outcome.startswith(_DONE):
        return outcome.removeprefix(_DONE)
    if outcome.startswith(_MISTAKE):
        raise UserError(outcome.removeprefix(_MISTAKE))
    if outcome.startswith(_STOPPED):
        interruption.note(int(outcome.removeprefix(_STOPPED)))
        raise interruption.Interrupted(interruption.noted())
    raise RuntimeError("the first process has failed")


def stop_request() -> bool:
    """For work in the first process alone: was it, or one of those that wait, asked to stop? `interruption` knows."""
    if interruption.noted() is None and _store is not None and _store.check(["stop"]):
        interruption.note(int(_store.get("stop").decode()))
    return interruption.noted() is not None


def agree_to_stop() -> bool:
    """Was any process asked to stop? Then all of them note why; a collective."""
    return agree_to_stop_or()[0]


def agree_to_stop_or(*flags: bool) -> list[bool]:
    """`agree_to_stop`, then `agreed` of the flags, in one collective."""
    reason, *others = most(float(interruption.code(interruption.noted())), *map(float, flags))
    if reason:
        interruption.note(int(reason))
    return [value > 0 for value in (reason, *others)]


def _pass_on() -> None:
    reason = interruption.noted()
    if reason is not None and _store is not None and not _store.check(["stop"]):
        _store.set("stop", str(interruption.code(reason)))
