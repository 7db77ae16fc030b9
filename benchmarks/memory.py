"""Peak memory of this process."""

from pathlib import Path


def peak_mb() -> float:
    """Of this process alone; `getrusage` begins with that of the process that started it."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
