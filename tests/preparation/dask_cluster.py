"""A real Dask cluster on loopback: a scheduler, and nodes of one worker each, every process by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


class Cluster:
    """Started with `start`, ended by `close`. Nodes have addresses of their own: 127.0.0.2, 127.0.0.3, …"""

    def __init__(self, folder: Path, nodes: int):
        self.file, self.log = folder / "scheduler.json", open(folder / "cluster.log", "a")  # noqa: SIM115
        command = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", self.file]
        self.scheduler = self._start(*command)
        self.nodes = [self.node(number) for number in range(nodes)]

    def node(self, number: int) -> subprocess.Popen:
        address = f"127.0.0.{2 + number}"
        return self._start(
            "worker", "--scheduler-file", self.file, "--host", address, "--nthreads", "1", "--no-dashboard",
            "--local-directory", self.file.parent / f"node{number}",
        )  # fmt: skip

    def _start(self, role: str, *options: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "distributed.cli.dask_" + role, *map(str, options)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment, process_group=0)

    def kill_worker(self, node: subprocess.Popen) -> bool:
        """SIGKILL of a node's worker process, which its nanny starts anew; whether there was one."""
        for child in psutil.Process(node.pid).children():
            if "resource_tracker" not in " ".join(child.cmdline()):
                child.kill()
                return True
        return False

    def kill_node(self, node: subprocess.Popen) -> None:
        """SIGKILL of all processes of a node."""
        for process in [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]:
            process.kill()
        node.wait()

    def close(self) -> None:
        for process in [*self.nodes, self.scheduler]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 10
        for process in [*self.nodes, self.scheduler]:
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()
