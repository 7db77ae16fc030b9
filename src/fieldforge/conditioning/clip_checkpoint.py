"""Checkpoints of the CLIP or SigLIP family, with both towers or one."""

from __future__ import annotations

from typing import Any, Literal

from fieldforge.conditioning.hub import Pretrained
from fieldforge.errors import UserError

ALONE = ("clip_text_model", "clip_vision_model")
"""Types of checkpoints that hold one tower of CLIP, as pipelines of diffusers have them."""

Layer = Literal["last", "penultimate"]


class ClipCheckpoint(Pretrained):
    """One tower of a checkpoint of the CLIP or SigLIP family.

    Args:
        model: a local folder or a hub name. Raises UserError for a checkpoint of another kind.
        layer: hidden layer of the tokens (the vector is always the checkpoint's own pooled output).
    """

    def __init__(self, model: str, layer: Layer = "last") -> None:
        super().__init__(model)
        self.layer = layer

    def checked(self, config: Any) -> Any:
        if config.model_type not in ("clip", "siglip", *ALONE):
            raise UserError(
                f"the encoder {self.model} is of type {config.model_type!r}, not CLIP or SigLIP: give a checkpoint of "
                f"those, or use the sources `text` and `image_features`."
            )
        return config

    @property
    def is_siglip(self) -> bool:
        return self.config.model_type == "siglip"

    def tower(self, name: Literal["text", "vision"]) -> Any:
        """The configuration of a tower; UserError where the checkpoint holds the other one alone."""
        if self.config.model_type not in ALONE:
            return getattr(self.config, f"{name}_config")
        if self.config.model_type != f"clip_{name}_model":
            raise UserError(
                f"the encoder {self.model} is a {self.config.model_type}, without a {name} tower: give a checkpoint of "
                f"CLIP that has it"
            )
        return self.config
