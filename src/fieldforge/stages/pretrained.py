"""Words where a run is taken: `pretrained`, the repository's trained weights, and `hub:<owner>/<name>`."""

from __future__ import annotations

from pathlib import Path

from fieldforge.errors import UserError
from fieldforge.stages.directory import PUBLISHED
from fieldforge.stages.model_hub import hub_file, is_of_hub

FOLDER = Path(__file__).resolve().parents[3] / "pretrained"
WORD = "pretrained"
DEFAULT = "shapes"
"""The name that the word alone stands for."""


def place_of(run: str, key: str) -> Path:
    """The path of a value of `run=`, `init_from=` …: the word `pretrained` means weights of the repository.

    Args:
        run: a path, `pretrained`, or `pretrained/<name>`; a folder of that name elsewhere is `./pretrained`.
            `hub:<owner>/<name>` and `hub:<owner>/<name>@<revision>` are fetched from a model hub.
        key: configuration key of the value.

    Raises:
        UserError: the repository holds no such weights; see `hub_file`.
    """
    if is_of_hub(run):
        return hub_file(run, key)
    if run == WORD:
        model = shipped()
        if model is None:
            names = ", ".join(f"{WORD}/{path.parent.name}" for path in sorted(FOLDER.glob(f"*/{PUBLISHED}")))
            raise UserError(
                f"{key}={WORD}: there is no {FOLDER / DEFAULT / PUBLISHED}, only {names or 'nothing'}: give {key}= a "
                f"run of your own, or get the weights with the repository"
            )
        return model.parent
    word, _, name = run.partition("/")
    return FOLDER / name if word == WORD and name and (FOLDER / name).exists() else Path(run)


def shipped() -> Path | None:
    """The weights file that `pretrained` means; None where the repository has none."""
    path = FOLDER / DEFAULT / PUBLISHED
    return path if path.is_file() else None
