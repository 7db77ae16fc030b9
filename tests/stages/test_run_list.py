"""The sentence about a run that is not there lists those that are."""

import json
import os
from pathlib import Path

from fieldforge.stages.run_list import LISTED, run_list


def run(folder: Path, name: str, age: int, stage: str = "diffusion", steps: tuple[int, ...] = ()) -> Path:
    path = folder / name
    (path / "checkpoints").mkdir(parents=True)
    (path / "fingerprint.json").write_text(json.dumps({"stage": stage}))
    os.utime(path / "fingerprint.json", (1000 - age, 1000 - age))
    for step in steps:
        (path / "checkpoints" / f"step_{step:08d}.ckpt").touch()
    return path


def test_the_newest_stands_first_with_what_its_files_say(tmp_path):
    run(tmp_path, "first/aa", age=2, steps=(9, 1200))
    (run(tmp_path, "bb", age=1, stage="autoencoder") / "model.ckpt").touch()
    (run(tmp_path, "first/cc", age=3) / "fingerprint.json").write_text("{")
    assert run_list(tmp_path) == (
        "first/cc (not finished), bb (autoencoder, finished), first/aa (diffusion, not finished, 1,200 steps)"
    )


def test_many_are_counted_and_none_is_nothing(tmp_path):
    assert run_list(tmp_path) == ""
    for age in range(LISTED + 2):
        run(tmp_path, f"run{age}", age)
    text = run_list(tmp_path)
    assert text.startswith("run0 ")
    assert text.endswith("), and 2 more")
    assert text.count("not finished") == LISTED
