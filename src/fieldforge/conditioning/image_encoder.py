"""Frozen image encoders: the vision towers of CLIP and SigLIP, and any backbone with a grid of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fieldforge.conditioning.clip_checkpoint import ClipCheckpoint, Layer
from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.text_encoder import hidden_layer


class ImageEncoder(Protocol):
    """Pictures (B, 3, size, size), sRGB in [0, 1] → a vector (B, F) and `token_count` tokens (B, L, F')."""

    @property
    def size(self) -> int: ...

    @property
    def vector_width(self) -> int: ...

    @property
    def token_width(self) -> int: ...

    @property
    def token_count(self) -> int: ...

    def encode(self, pictures: Tensor) -> Features: ...

    def fingerprint(self) -> Mapping[str, Any]: ...


class ClipImageEncoder(ClipCheckpoint):
    """Vision tower of a CLIP or SigLIP checkpoint: its pooled, projected vector and its hidden tokens.

    Args:
        model, layer: see `ClipCheckpoint`. CLIP's tokens are those before the tower's last norm, in either layer.
        class_token: whether CLIP's class token stands before the grid's tokens; SigLIP has none.
    """

    def __init__(self, model: str, layer: Layer = "last", class_token: bool = True) -> None:
        super().__init__(model, layer)
        self.class_token = class_token

    @property
    def size(self) -> int:
        return self.tower("vision").image_size

    @property
    def vector_width(self) -> int:
        return self.tower("vision").hidden_size if self.is_siglip else self.config.projection_dim

    @property
    def token_width(self) -> int:
        return self.tower("vision").hidden_size

    @property
    def token_count(self) -> int:
        patches = (self.size // self.tower("vision").patch_size) ** 2
        return patches + (self._class_tokens if self.class_token else 0)

    @property
    def _class_tokens(self) -> int:
        """Class tokens that the tower puts before its grid."""
        return 0 if self.is_siglip else 1

    def fingerprint(self) -> Mapping[str, Any]:
        own = {} if self.class_token else {"class_token": False}  # encoders without this setting keep their identity
        return {"kind": "clip_image", "weights": self.weights(), "layer": self.layer, **own}

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Features:
        """Vector (B, F), tokens (B, L, F'); no vector of a tower without a projection, as some pipelines have it."""
        mean, std = (torch.tensor(values, device=pictures.device).view(3, 1, 1) for values in self.normalization)
        pixels = (pictures - mean) / std  # (B, 3, H, W)
        output = self.network.to(pictures.device)(pixel_values=pixels, output_hidden_states=True)
        vector = output.pooler_output if self.is_siglip else getattr(output, "image_embeds", None)  # (B, F)
        tokens = hidden_layer(output, self.layer)  # (B, L, F')
        return Features(vector, tokens if self.class_token else tokens[:, self._class_tokens :])

    @cached_property
    def normalization(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per colour that the checkpoint's own preprocessing asks for."""
        from transformers.image_processing_base import ImageProcessingMixin

        settings, _ = self.load(ImageProcessingMixin, read="get_image_processor_dict")
        return settings["image_mean"], settings["image_std"]

    @cached_property
    def network(self) -> nn.Module:
        from transformers import CLIPVisionModel, CLIPVisionModelWithProjection, SiglipVisionModel

        bare = self.config.architectures == ["CLIPVisionModel"]
        clip = CLIPVisionModel if bare else CLIPVisionModelWithProjection
        return self.load_network(SiglipVisionModel if self.is_siglip else clip)


class GridEncoder:
    """Any backbone whose output is a grid of features (B, F, h, w): cells are the tokens, their mean is the vector.

    Args:
        build: gives the backbone with its weights (called at the first use), frozen here.
        identity: gives the values that determine the features, for fingerprints (called at each request).
        size: side of the pictures in pixels.
        width: F.
        grid: h = w, cells along a side.
        mean, std: normalisation per colour.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        identity: Callable[[], Mapping[str, Any]],
        size: int,
        width: int,
        grid: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.build, self.identity = build, identity
        self.size = size
        self.vector_width = self.token_width = width
        self.token_count = grid * grid
        self.mean, self.std = tuple(mean), tuple(std)

    def fingerprint(self) -> Mapping[str, Any]:
        return {"kind": "grid", "size": self.size, "mean": list(self.mean), "std": list(self.std), **self.identity()}

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Features:
        """Vector (B, F), tokens (B, h · w, F) row by row from the top left."""
        mean, std = (torch.tensor(values, device=pictures.device).view(3, 1, 1) for values in (self.mean, self.std))
        cells = self.network.to(pictures.device)((pictures - mean) / std)  # (B, F, h, w)
        tokens = cells.flatten(2).transpose(1, 2)  # (B, h · w, F)
        assert tokens.shape[1:] == (self.token_count, self.token_width), f"the backbone gave {tuple(cells.shape)}"
        return Features(tokens.mean(1), tokens)

    @cached_property
    def network(self) -> nn.Module:
        return self.build().eval().requires_grad_(False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "network"}
