"""Lists of the runs in a folder, for error sentences about a missing run."""

from __future__ import annotations

import json
from pathlib import Path

from fieldforge.stages.directory import MODEL
from fieldforge.terminal import quantity

LISTED = 6
FILE = "fingerprint.json"


def run_list(folder: Path) -> str:
    """Runs in `folder`, or in the folders of names below it, the newest first; empty where there is none.

    Each run by path, stage and state: `first/1a2b3c (diffusion, finished, 300 steps)`.
    """
    files = [*folder.glob(f"*/{FILE}"), *folder.glob(f"*/*/{FILE}")]
    runs = [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)]
    texts = [f"{run.relative_to(folder)} ({', '.join(_state(run))})" for run in runs[:LISTED]]
    more = f", and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return ", ".join(texts) + more


def _state(run: Path) -> list[str]:
    """Stage, whether it is finished, and the steps of its newest checkpoint, as far as its files tell."""
    try:
        content = json.loads((run / FILE).read_text())
    except (ValueError, OSError):
        content = None
    stage = content.get("stage") if isinstance(content, dict) else None
    numbers = (path.stem.removeprefix("step_") for path in run.glob("checkpoints/step_*.ckpt"))
    steps = max((int(number) for number in numbers if number.isdecimal()), default=None)
    return [
        *([str(stage)] if stage else []),
        "finished" if (run / MODEL).is_file() else "not finished",
        *([] if steps is None else [quantity(steps, "step")]),
    ]
