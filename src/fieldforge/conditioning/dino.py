"""Checkpoints of DINO and DINOv2, and other bare vision transformers, as frozen image encoders."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.hub import Pretrained
from fieldforge.errors import UserError
from fieldforge.ranges import Count

KINDS = ("vit", "dinov2", "dinov2_with_registers")


class DinoImageEncoder(Pretrained):
    """A vision transformer without a head: the vector is its class token, the tokens are those of its patches.

    DINO (Caron et al. 2021, arXiv 2104.14294) and DINOv2 (Oquab et al. 2023, arXiv 2304.07193); LRM and InstantMesh
    read the former. Pictures of another size than the checkpoint's are read with its positions interpolated.

    Args:
        model: a local folder, an installed package, or a hub name such as facebook/dinov2-small. UserError for a
            checkpoint of another kind.
        size: of the pictures, along a side; a multiple of the patch.
    """

    def __init__(self, model: str, size: Count = 224) -> None:
        super().__init__(model)
        self.size = size

    def checked(self, config: Any) -> Any:
        if config.model_type not in KINDS:
            raise UserError(
                f"the encoder {self.model} is of type {config.model_type!r}, not DINO: give a checkpoint such as "
                f"facebook/dinov2-small, or ClipImageEncoder for CLIP and SigLIP"
            )
        if self.size % config.patch_size:
            raise UserError(
                f"the encoder {self.model} has patches of {config.patch_size} pixels, and size={self.size} is no "
                f"multiple of that: give size={self.size // config.patch_size * config.patch_size or config.patch_size}"
            )
        return config

    @property
    def vector_width(self) -> int:
        return self.config.hidden_size

    @property
    def token_width(self) -> int:
        return self.config.hidden_size

    @property
    def token_count(self) -> int:
        return (self.size // self.config.patch_size) ** 2

    def fingerprint(self) -> Mapping[str, Any]:
        return {"kind": "dino", "weights": self.weights(), "size": self.size}

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Features:
        """Vector (B, F), tokens (B, L, F) row by row from the top left."""
        mean, std = (torch.tensor(values, device=pictures.device).view(3, 1, 1) for values in self.normalization)
        options = {"interpolate_pos_encoding": True} if self.config.model_type == "vit" else {}
        output = self.network.to(pictures.device)(pixel_values=(pictures - mean) / std, **options)
        hidden = output.last_hidden_state  # (B, 1 + registers + L, F)
        return Features(hidden[:, 0], hidden[:, -self.token_count :])

    @cached_property
    def normalization(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per colour that the checkpoint's own preprocessing asks for."""
        from transformers.image_processing_base import ImageProcessingMixin

        settings, _ = self.load(ImageProcessingMixin, read="get_image_processor_dict")
        return settings["image_mean"], settings["image_std"]

    @cached_property
    def network(self) -> nn.Module:
        from transformers import AutoModel

        return self.load_network(AutoModel)
