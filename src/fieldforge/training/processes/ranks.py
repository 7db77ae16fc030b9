"""Coordination of a training's processes: they agree, wait for each other, and fail together.

Agreement uses small tensors on the CPU (a gloo group beside NCCL). Waiting uses the store of the rendezvous: it has no
time limit, and ends at once when the first process is gone. With a single process every function returns at once.
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

from fieldforge.errors import Unfinished, UserError
from fieldforge.training.processes import interruption
from fieldforge.training.processes.heartbeat import Sign, alive
from fieldforge.training.processes.meeting import meet

_DONE, _MISTAKE, _STOPPED, _BROKEN = "done:", "mistake:", "stopped:", "broken:"
_SIGNS_OF_LOSS = ("connection closed", "connection reset", "broken pipe", "gloo/transport", "nccl")
_store: dist.Store | None = None
_numbers = itertools.count()
_sharing: str | None = None  # during shared work, the key below which its first failure stands


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def connect(backend: str, minutes: float) -> None:
    """Join the group that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe.

    Args:
        backend: name in torch.distributed; it must support reductions on the CPU.
        minutes: time limit for waiting for another process's tensors.

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
    """Key prefix of this attempt: after a restart torchrun gives processes on one machine the same store again."""
    alone = os.environ.get("GROUP_WORLD_SIZE") == "1"  # machines do not count alike
    return f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0) if alone else 0}"


def disconnect(seconds: float = 15.0) -> None:
    """Leave the group, if there is one; the first process, which may hold the store, waits shortly for the others."""
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
    """Whether an exception means that another process of the group is gone."""
    lost = isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in _SIGNS_OF_LOSS)
    return world() > 1 and lost


def announce(code: int) -> None:
    """Announce the exit code of this process before an early exit."""
    with contextlib.suppress(RuntimeError):  # who keeps the store may be gone
        if _store is not None and world() > 1:
            _store.set("code", str(code))


def abandon() -> int | None:
    """Stop communicating with the others; returns the exit code that one has announced, None for a killed process."""
    global _store
    store, _store = _store, None
    with contextlib.suppress(RuntimeError):
        return int(store.get("code")) if store is not None and store.check(["code"]) else None
    return None


def first_says_too(message: str, seconds: float = 5.0) -> bool:
    """Whether the first process fails with the same message; called by each failing process.

    True where there is no group.
    """
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
    """Each process's value, by rank; a collective."""
    if _store is None or world() == 1:
        return [word]
    key = f"all/{next(_numbers)}"
    _store.set(f"{key}/{rank()}", word)
    return [_store.get(f"{key}/{number}").decode() for number in range(world())]


def together(work: Callable[[], None]) -> None:
    """Run `work` in every process; a UserError in one of them ends all. A collective.

    Raises:
        UserError: this process's own error, or a report of another one's.
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
    """Run `work` in the first process while the others wait without limit; all return its result.

    Raises:
        UserError, Interrupted: raised by `work`, in all processes.
        RuntimeError: `work` has failed otherwise in the first process.
    """
    if _store is None or world() == 1:
        return work() or ""
    key = f"alone/{next(_numbers)}"
    return _announced(work, key) if rank() == 0 else _awaited(key, 0)


def shared(work: Callable[[], str | None]) -> list[str]:
    """Run `work`, which is this process's share, in every process; wait for all without limit: all results, by rank.

    Work that asks `stop_request` from time to time ends soon after a failure in another process.

    Raises:
        UserError, Interrupted: raised by `work` in any process, in all of them.
        RuntimeError: `work` has failed otherwise in another process, or the process is gone.
    """
    global _sharing
    if _store is None or world() == 1:
        return [work() or ""]
    key = f"shared/{next(_numbers)}"
    _sharing = f"{key}/failed"
    try:
        with alive(_store, key, rank()):
            _announced(work, f"{key}/{rank()}", _sharing)
            return [_awaited(f"{key}/{number}", number, Sign(_store, key, number)) for number in range(world())]
    finally:
        _sharing = None


def _announced(work: Callable[[], str | None], *keys: str) -> str:
    """The result of `work`; the others find it below the first key, and how it failed below all of them."""
    assert _store is not None
    outcome = _BROKEN
    try:
        result = work() or ""
        outcome = _DONE + result
        return result
    except UserError as error:
        outcome = f"{_MISTAKE}{error.exit_code}:{error}"
        raise
    except interruption.Interrupted as stop:
        outcome = _STOPPED + str(interruption.code(stop.by))
        raise
    finally:
        for key in keys[:1] if outcome.startswith(_DONE) else keys:
            _store.set(key, outcome)


def _awaited(key: str, who: int, sign: Sign | None = None) -> str:
    """The result that process `who` announces below the key; raises how it, or another share of work, has failed."""
    assert _store is not None
    while not _store.check([key]):
        _pass_on()
        _raise_failure()
        if sign is not None:
            sign.look()
        time.sleep(0.1)
    return _read(_store.get(key).decode(), f"process {who}")


def _raise_failure() -> None:
    """Raises what has ended another process's share of the work in hand."""
    if _store is not None and _sharing is not None and _store.check([_sharing]):
        _read(_store.get(_sharing).decode(), "another process")


def _read(outcome: str, who: str) -> str:
    if outcome.startswith(_DONE):
        return outcome.removeprefix(_DONE)
    if outcome.startswith(_MISTAKE):
        code, _, message = outcome.removeprefix(_MISTAKE).partition(":")
        raise (Unfinished if int(code) == Unfinished.exit_code else UserError)(message)
    if outcome.startswith(_STOPPED):
        interruption.note(int(outcome.removeprefix(_STOPPED)))
        raise interruption.Interrupted(interruption.noted())
    raise RuntimeError(f"{who} has failed")


def stop_request() -> bool:
    """During work outside of steps: whether any process, also a waiting one, has a request to stop.

    Raises:
        UserError, Interrupted, RuntimeError: what has ended another process's share of the work.
    """
    _pass_on()
    _raise_failure()
    if interruption.noted() is None and _store is not None and _store.check(["stop"]):
        interruption.note(int(_store.get("stop").decode()))
    return interruption.noted() is not None


def agree_to_stop() -> bool:
    """Whether any process has a request to stop; all of them record its reason. A collective."""
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
