"""What the commands say where they are not set up yet. Imports nothing that a bare Python lacks."""

import importlib.util
import sys
from pathlib import Path

NEEDED = ("fieldforge", "hydra", "torch")
"""What the set-up installs: the package itself, what reads a command line, what takes the longest."""


def check_set_up() -> None:
    """Leave with exit code 2 and a sentence unless this Python has the packages that the commands need."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        return
    folder = Path(__file__).resolve().parent
    python = folder / ".venv" / "bin" / "python"
    first = "" if (folder / ".venv" / ".ready").exists() else f"run `make setup` in {folder} first, and then "
    print(
        f"error: {sys.executable} lacks {', '.join(missing)}: {first}"
        f"start this command as {python} {Path(sys.argv[0]).name} …",
        file=sys.stderr,
    )
    sys.exit(2)
