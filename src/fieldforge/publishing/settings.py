"""The settings of `python -m fieldforge.publish`; they check themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldforge.errors import UserError


@dataclass(frozen=True)
class PublishSettings:
    """All settings of the command.

    Args:
        run: directory of a finished diffusion run; None: the newest.
        output_dir: where runs lie.
        output: folder for weights and card.
        data_root: shards whose assets the card lists; None: the run's training data.
        command: of the training, for the card; None: a person fills it in.
    """

    run: str | None
    output_dir: str
    output: str
    data_root: str | Sequence[str] | None
    command: str | None

    def __post_init__(self) -> None:
        if not self.output.strip():
            raise UserError("output= is empty: give a folder for the weights, such as output=pretrained/shapes")
