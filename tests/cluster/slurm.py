"""A Slurm of two nodes on one machine, for tests: loopback only, its own directory, free ports, no system service.

The daemons are children of this process; everything that they start carries `SLURM_CONF=<directory>/slurm.conf` in its
environment, which is how `Slurm.stop` finds what is left. By hand: python tests/cluster/slurm.py DIRECTORY sinfo
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
NODES = ("node1", "node2")
CPUS = 4  # a node; pretended, so that several small jobs share the machine
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "DEADLINE"}

# cred_expire: a requeued job waits until its last credential is void, two minutes by default.
# seat: a pretended resource of which each node has one, so that a test decides which job makes way for which.
# Ports of jobs (train.sbatch) and of daemons do not meet: the ones begin at 20000, the others end at 19000.
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={directory}/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={directory}/state
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdSpoolDir={directory}/spool.%n
SlurmdPidFile={directory}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MessageTimeout=60
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,sched_min_interval=200000,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
MinJobAge=3600
GresTypes=seat
NodeName=node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_ports}] CPUs={cpus} RealMemory=16000 Gres=seat:1
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 PreemptMode=OFF
PartitionName=scavenge Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""


class Slurm:
    """Commands to a running cluster.

    Args:
        directory: where its configuration, logs and state are.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.environment = {**system_environment(), "SLURM_CONF": str(directory / "slurm.conf")}

    def run(self, *command: str, **environment: str) -> str:
        """What a command of Slurm's prints. RuntimeError with its complaint if it fails."""
        done = subprocess.run(
            command, capture_output=True, text=True, env={**self.environment, **environment}, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def submit(self, *arguments: str, **environment: str) -> str:
        """sbatch; the job's number."""
        return self.run("sbatch", "--parsable", *arguments, **environment)

    def job(self, number: str) -> dict[str, str]:
        """What scontrol knows of a job (or of the first task of an array)."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).splitlines()[0].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def processes(self) -> list[int]:
        """All processes that this cluster has started, by their environment."""
        mark = f"SLURM_CONF={self.directory}/slurm.conf".encode()
        pids = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended in the meantime, or another user's
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
        return pids


@contextmanager
def running(directory: Path) -> Iterator[Slurm]:
    """A cluster with both nodes ready, stopped with all that runs on it when the block is left, however it is left.

    Raises:
        RuntimeError: programs are missing, or a node does not come up; the message says where the logs are.
    """
    path = system_environment()["PATH"]
    missing = [name for name in PROGRAMS if not _which(name, path)]
    if missing:
        raise RuntimeError(f"{', '.join(missing)} not found: install the packages slurm-wlm and munge")
    directory = directory.resolve()
    slurm = Slurm(directory)
    _configure(directory)
    daemons: list[subprocess.Popen] = []
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        _start(slurm, daemons, "munged", "--foreground", "--force", *_munge_options(directory))
        _wait(lambda: (directory / "munge.socket").exists(), directory, "munged")
        _start(slurm, daemons, "slurmctld", "-D", "-i")
        for node in NODES:
            (directory / f"spool.{node}").mkdir(exist_ok=True)
            _start(slurm, daemons, "slurmd", "-D", "-N", node)
        _wait(lambda: _idle(slurm), directory, "two nodes")
        yield slurm
    finally:
        signal.signal(signal.SIGTERM, before)
        _stop(slurm, daemons)


def system_environment() -> dict[str, str]:
    """This process's environment with the folders of system programs on the path."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin"}


def free_ports(count: int) -> list[int]:
    """Consecutive ports of 127.0.0.1 that nobody listens on."""
    while True:
        first = secrets.choice(range(10_000, 19_000))
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return list(range(first, first + count))


def _configure(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "state").mkdir(exist_ok=True)
    controller, first, last = free_ports(3)
    (directory / "slurm.conf").write_text(
        CONFIGURATION.format(
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            directory=directory,
            controller_port=controller,
            node_ports=f"{first}-{last}",
            cpus=CPUS,
        )
    )
    (directory / "gres.conf").write_text("Name=seat Count=1\n")
    key = directory / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)


def _munge_options(directory: Path) -> list[str]:
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return [f"--{option}={directory}/munge.{name}" for option, name in names.items()]


def _start(slurm: Slurm, daemons: list[subprocess.Popen], *command: str) -> None:
    name = "-".join([command[0], *[word for word in command if word in NODES]])
    with (slurm.directory / f"{name}.log").open("ab") as log:
        daemons.append(subprocess.Popen(command, env=slurm.environment, stdout=log, stderr=log, start_new_session=True))


def _stop(slurm: Slurm, daemons: list[subprocess.Popen]) -> None:
    """The daemons, the last one first; then jobs, which outlive them and whose processes are not children of ours."""
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
    deadline = time.monotonic() + 10
    while (left := slurm.processes()) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def _idle(slurm: Slurm) -> bool:
    try:
        return slurm.run("sinfo", "-h", "-p", "normal", "-t", "idle", "-o", "%D") == str(len(NODES))
    except RuntimeError:  # the controller does not answer yet
        return False


def _wait(ready, directory: Path, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come up in {seconds:g} s: look into the logs in {directory}")
        time.sleep(0.2)


def _which(name: str, path: str) -> bool:
    return any(os.access(Path(folder) / name, os.X_OK) for folder in path.split(":") if folder)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    with running(Path(sys.argv[1])) as cluster:
        sys.exit(subprocess.call(sys.argv[2:], env=cluster.environment))
