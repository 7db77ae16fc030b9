"""The runs that a form offers, told by their small files: no weights are read."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import safe_open

from fieldforge.stages import pretrained
from fieldforge.stages.directory import PUBLISHED
from fieldforge.stages.locate import finished
from fieldforge.training.processes.published import LABEL

CLIPS = "ClipDomain"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunChoice:
    """A finished run. run: as commands take it. stage, domain: of its model, the latter by its class."""

    run: str
    stage: str
    domain: str

    @property
    def animates(self) -> bool:
        """Whether its samples are clips, which begin with a picture."""
        return self.domain == CLIPS


def runs_below(output_dir: str, *stages: str) -> list[RunChoice]:
    """Finished runs of these stages, the newest first, then those of `pretrained`; a warning for an unreadable one."""
    found = [_run(model.parent) for model in finished(output_dir)] + [
        _published(path) for path in sorted(pretrained.FOLDER.glob(f"*/{PUBLISHED}"))
    ]
    return [choice for choice in found if choice is not None and choice.stage in stages]


def _run(folder: Path) -> RunChoice | None:
    try:
        stage = json.loads((folder / "fingerprint.json").read_text())["stage"]
        config: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
        return RunChoice(str(folder), str(stage), _domain(config))
    except Exception as error:  # files of strangers: whatever is wrong with them, the form goes without
        _warn(folder, error)
        return None


def _published(path: Path) -> RunChoice | None:
    try:
        with safe_open(path, "pt") as file:
            label = json.loads(file.metadata()[LABEL])
        name = path.parent.name
        return RunChoice(f"{pretrained.WORD}/{name}", label["stage"], _domain(label["config"]))
    except Exception as error:
        _warn(path, error)
        return None


def _warn(place: Path, error: Exception) -> None:
    reason = " ".join(str(error).split())[:200]
    log.warning("The form goes without %s, which cannot be read: %s: %s", place, type(error).__name__, reason)


def _domain(config: Any) -> str:
    return str(config["domain"]["_target_"]).rpartition(".")[2]
