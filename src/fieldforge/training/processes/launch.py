"""Launch of a training's processes: a launcher starts them, or the first process starts the others.

One process group serves all stages of a run: every process runs the same stages.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment

from fieldforge.data.loader_workers import leave_with
from fieldforge.errors import Unfinished, UserError
from fieldforge.terminal import say
from fieldforge.training.processes import gpus, interruption, launchers, ranks

log = logging.getLogger(__name__)
_EXPECTED_EXITS = (0, interruption.EXIT_UNFINISHED, interruption.EXIT_CTRL_C)
_STARTED_BY = "FIELDFORGE_STARTED_BY"  # the first process of a node, without which the others have nothing to do
_GRACE = 15.0  # seconds in which the processes that are left notice that one is gone


class Launched(ClusterEnvironment):
    """The cluster environment of this process for Lightning."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        return launchers.started() is not None

    def world_size(self) -> int:
        return int(os.environ["WORLD_SIZE"])

    def set_world_size(self, size: int) -> None:
        assert size == self.world_size()

    def global_rank(self) -> int:
        return int(os.environ["RANK"])

    def set_global_rank(self, rank: int) -> None:
        """Lightning's guess; a launcher may deal ranks to nodes in another order."""

    def local_rank(self) -> int:
        return int(os.environ["LOCAL_RANK"])

    def node_rank(self) -> int:
        return int(os.environ.get("GROUP_RANK", os.environ.get("NODE_RANK", 0)))


@contextmanager
def processes(
    devices: int, num_nodes: int, gpu: bool, command: Callable[[], list[str]], minutes: float = 30.0
) -> Iterator[None]:
    """Inside this context all devices × num_nodes processes are connected.

    Args:
        devices: processes of each node.
        num_nodes: number of nodes.
        gpu: whether each process has its own GPU, that of its local rank.
        command: gives the command line for the processes that no launcher has started.
        minutes: time limit for waiting for another process's tensors.

    Raises:
        UserError: the launcher has started another number of processes than the configuration says, the environment
            contradicts itself, or processes lack GPUs.
    """
    place = launchers.started()
    _check_size(place, devices, num_nodes)
    if devices * num_nodes == 1:
        yield
        return
    others: list[subprocess.Popen] = []
    with _surroundings_kept(), ExitStack() as ends:
        ends.callback(lambda: _end(others))
        ends.callback(ranks.disconnect)
        ends.enter_context(_announcing())
        if place is None:
            if gpu and devices > torch.cuda.device_count():
                raise gpus.too_few(devices, torch.cuda.device_count())
            others = _start_others(devices, num_nodes, command)
        else:
            _adopt(place, devices, num_nodes)
        _connect(devices, gpu, minutes)
        try:
            yield
        except RuntimeError as error:
            if not ranks.is_loss(error):
                raise
            raise _loss(others) from error


def _check_size(place: launchers.Place | None, devices: int, num_nodes: int) -> None:
    """UserError where a launcher has started another number of processes than the configuration says."""
    size = devices * num_nodes
    if place is not None and place.size != size:
        raise UserError(
            f"{place.launcher} has started {place.size} processes ({place.evidence}), but trainer.devices={devices} × "
            f"trainer.num_nodes={num_nodes} make {size}: set trainer=ddp (or fsdp), trainer.devices to the processes "
            f"of a node and trainer.num_nodes to the nodes, or start {size}"
        )


@contextmanager
def _surroundings_kept() -> Iterator[None]:
    """Restores environment and log level at the end."""
    before, level = dict(os.environ), logging.getLogger().level
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _announcing() -> Iterator[None]:
    """Announces an error of this process to the others."""
    try:
        yield
    except UserError as error:
        error.everywhere = error.everywhere and ranks.first_says_too(str(error))
        ranks.announce(error.exit_code)
        raise
    except Exception as error:
        if not isinstance(error, interruption.Interrupted):
            ranks.announce(1)
        raise


def _connect(devices: int, gpu: bool, minutes: float) -> None:
    """Connects this process, on its own GPU, with the others."""
    if gpu:
        own = gpus.of_process(Launched().local_rank(), devices)
        torch.cuda.set_device(own)
    if Launched().global_rank() > 0:
        logging.getLogger().setLevel(logging.ERROR)  # the first process speaks for all
    if os.environ.get(_STARTED_BY) == str(os.getppid()):
        leave_with(os.getppid(), interruption.EXIT_UNFINISHED, _GRACE)
    ranks.connect("cpu:gloo,cuda:nccl" if gpu else "gloo", minutes)
    if gpu:
        gpus.check_own(own)


def _adopt(place: launchers.Place, devices: int, num_nodes: int) -> None:
    """Copy a launcher's environment variables to torch's."""
    local = place.rank % devices if place.local_rank is None else place.local_rank
    if local >= devices:
        raise _crowded(place, local, devices)
    os.environ.update(RANK=str(place.rank), LOCAL_RANK=str(local), WORLD_SIZE=str(place.size))
    os.environ.setdefault("NODE_RANK", str(place.rank // devices))
    _check_port()
    if place.launcher == "srun":
        nodes = os.environ.get("SLURM_NODELIST", "127.0.0.1")
        os.environ.setdefault("MASTER_ADDR", SLURMEnvironment.resolve_root_node_address(nodes))
        os.environ.setdefault("MASTER_PORT", str(15000 + _job_number() % 10000))
    elif place.launcher == "mpirun" and num_nodes == 1:  # its processes have one parent
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", str(20000 + os.getppid() % 20000))
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UserError(
            f"{place.launcher} has started {place.size} processes ({place.evidence}) without {' and '.join(missing)}: "
            "set the address of the first node, and a free port on it, in all of them"
        )


def _job_number() -> int:
    return launchers.number("SLURM_JOB_ID") if os.environ.get("SLURM_JOB_ID") else 0


def _crowded(place: launchers.Place, local: int, devices: int) -> UserError:
    mistake = UserError(
        f"{place.launcher} has started more processes on {socket.gethostname()} (this one is number {local + 1} there) "
        f"than trainer.devices={devices} says: set trainer.devices to the processes of a node"
    )
    mistake.everywhere = False  # of this node
    return mistake


def _start_others(devices: int, num_nodes: int, command: Callable[[], list[str]]) -> list[subprocess.Popen]:
    """Start this node's other processes; this one becomes its first."""
    if num_nodes == 1:  # whatever other trainings have left in the environment
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()), NODE_RANK="0")
    missing = [name for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise UserError(
            "trainer.num_nodes: nobody has started the processes of the other nodes: use srun or torchrun, or set "
            f"NODE_RANK, MASTER_ADDR and MASTER_PORT on each node ({' and '.join(missing)} is missing)"
        )
    _check_port()
    node, size = launchers.number("NODE_RANK", below=num_nodes), devices * num_nodes
    os.environ["WORLD_SIZE"] = str(size)
    program = command()

    def place(local: int) -> dict[str, str]:
        return {"RANK": str(node * devices + local), "LOCAL_RANK": str(local), _STARTED_BY: str(os.getpid())}

    children = [subprocess.Popen(program, env={**os.environ, **place(local)}) for local in range(1, devices)]
    os.environ.update(place(0))
    threading.Thread(target=_watch, args=(children,), daemon=True).start()
    return children


def _check_port() -> None:
    if os.environ.get("MASTER_PORT"):
        launchers.number("MASTER_PORT", below=65536, least=1)


def _watch(children: Sequence[subprocess.Popen]) -> None:
    """End all processes when one was killed, as the others would wait for it; a scheduler can then restart them."""
    while not all(child.poll() == 0 for child in children):
        lost = [child for child in children if child.poll() not in (None, *_EXPECTED_EXITS)]
        if lost:
            time.sleep(_GRACE)
            say(f"error: process {lost[0].pid} of this training is gone, the others end too")
            for child in children:
                child.kill()
            os._exit(_exit_code(lost[0]))
        time.sleep(0.5)


def _loss(children: Sequence[subprocess.Popen], seconds: float = 10.0) -> Unfinished:
    """The error sentence where another process is gone."""
    code, deadline = ranks.abandon(), time.monotonic() + seconds
    while code is None and children and time.monotonic() < deadline:
        ended = [child for child in children if child.poll() is not None]
        code = _exit_code(ended[0]) if ended else None
        time.sleep(0.1)
    loss = Unfinished(
        "another process of this training has failed, its message says why"
        if code in (1, 2)
        else "another process of this training is gone (killed, or out of memory): the same command goes on from the "
        "last checkpoint"
    )
    loss.exit_code, loss.everywhere = code or interruption.EXIT_UNFINISHED, False
    return loss


def _exit_code(child: subprocess.Popen) -> int:
    """Exit code of this process after the exit of another one: the announced code, if it has announced one."""
    return child.returncode if child.returncode in (1, 2) else interruption.EXIT_UNFINISHED


def _end(children: Sequence[subprocess.Popen]) -> None:
    deadline = time.monotonic() + _GRACE
    for child in children:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]
