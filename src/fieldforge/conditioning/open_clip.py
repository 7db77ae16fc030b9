"""Towers of the optional open_clip library, which needs torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fieldforge.conditioning.clip_checkpoint import Layer
from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.hub import (
    brief,
    files_fingerprint,
    quiet,
    reach_hub,
)
from fieldforge.conditioning.reach import may_fetch, offline
from fieldforge.conditioning.text_encoder import refuse_empty, until_end_of_text, warn_of_cut
from fieldforge.errors import UserError, install_command
from fieldforge.storage.store import names_elsewhere


class OpenClip:
    """A model of open_clip by its name there, loaded at the first use, frozen, in float32.

    Args:
        model: name of the architecture, such as `ViT-B-32`.
        pretrained: a tag of open_clip (its weights are fetched) or the path of a checkpoint file.
        layer: hidden layer of the tokens.
    """

    def __init__(self, model: str, pretrained: str, layer: Layer = "last") -> None:
        self.model, self.pretrained, self.layer, self.may_fetch = model, pretrained, layer, may_fetch()

    @property
    def vector_width(self) -> int:
        return self.config["embed_dim"]

    @cached_property
    def config(self) -> Mapping[str, Any]:
        self._check_local()
        architecture = _library().get_model_config(self.model)
        if architecture is None:
            raise UserError(f"open_clip knows no model {self.model!r}: give one of open_clip.list_models().")
        return architecture

    @cached_property
    def network(self) -> nn.Module:
        self.check_present()
        try:
            with quiet(), nullcontext() if self.may_fetch else offline():
                model = _library().create_model(self.model, pretrained=self.pretrained, precision="fp32")
        except Exception as error:  # of three libraries, for damaged files any
            raise self._missing(error) from error
        return model.eval().requires_grad_(False)

    def check_present(self) -> None:
        """UserError where neither this machine nor a hub that answers has the weights. Nothing is fetched or loaded."""
        self.check_named()
        try:
            self._reach_weights()
        except OSError as error:
            raise self._missing(error) from error

    def check_named(self) -> None:
        """UserError where `pretrained` is neither a file nor a tag. Nothing is fetched or loaded."""
        self._check_local()
        if Path(self.pretrained).is_file():
            return
        tags = _library().list_pretrained_tags_by_model(self.model)
        if self.pretrained not in tags:
            raise UserError(
                f"open_clip has no weights {self.pretrained!r} for {self.model}, and there is no such file: give the "
                f"path of a checkpoint, or one of {', '.join(tags) or 'no known tags'}."
            )

    def _reach_weights(self) -> None:
        """OSError at once where the weights are not on this machine and no hub answers."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        if Path(self.pretrained).is_file():
            return
        # "owner/name/" or "owner/name/file", empty where the weights lie elsewhere
        repository, _, _ = _library().get_pretrained_cfg(self.model, self.pretrained).get("hf_hub", "").rpartition("/")
        folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
        here = repository and any(folder.glob("snapshots/*/*"))
        if not self.may_fetch and not here:
            raise FileNotFoundError("they are not on this machine")
        if repository and not here:
            reach_hub()

    def _check_local(self) -> None:
        """UserError for an address in the place of a name where downloads are not allowed."""
        for name in (self.model, self.pretrained):
            if not self.may_fetch and names_elsewhere(name):
                raise UserError(f"a stored run names {name!r} of open_clip, an address: it is not asked for.")

    def _missing(self, cause: Exception) -> UserError:
        return UserError(
            f"the open_clip weights {self.model}/{self.pretrained} could not be loaded "
            f"({brief(cause)}): on a machine with network run "
            f'`python -c "import open_clip as o; print(o.download_pretrained(o.get_pretrained_cfg('
            f"'{self.model}', '{self.pretrained}'), cache_dir='models'))\"`, copy the file that it names here and "
            f"give its path as conditioner.parts.<source>.encoder.pretrained."
        )

    def identity(self) -> Mapping[str, Any]:
        self.check_named()
        weights = Path(self.pretrained)
        named = files_fingerprint((weights,)) if weights.is_file() else self.pretrained
        return {"model": self.model, "weights": named, "layer": self.layer}

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("model", "pretrained", "layer", "may_fetch")}


class OpenClipTextEncoder(OpenClip):
    """Text tower with CLIP's own tokenizer; texts are padded with zeros, the mask ends with the end of text."""

    @property
    def token_width(self) -> int:
        return self.config["text_cfg"]["width"]

    def fingerprint(self) -> Mapping[str, Any]:
        return {"kind": "open_clip_text", **self.identity()}

    @cached_property
    def tokenizer(self) -> Any:
        tokenizer = _library().get_tokenizer(self.model)
        if not hasattr(tokenizer, "eot_token_id"):
            raise UserError(f"{self.model} has a tokenizer of its own: use its transformers version with clip_text.")
        return tokenizer

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], device: torch.device) -> Features:
        """Vector (B, F), tokens (B, L, F'), mask (B, L); L is the model's context length."""
        limit = self.tokenizer.context_length - 2  # the start and the end of text take a place each
        for text in texts:
            refuse_empty(text)
            warn_of_cut(self.tokenizer.encode(text), limit, self.tokenizer.decode)
        ids = self.tokenizer(list(texts)).to(device)  # (B, L)
        output = self.network.to(device).forward_intermediates(  # type: ignore[operator]
            text=ids, text_indices=2, normalize=False, normalize_intermediates=self.layer == "last"
        )
        tokens = output["text_intermediates"][-1 if self.layer == "last" else 0]  # (B, L, F')
        return Features(output["text_features"], tokens, until_end_of_text(ids, self.tokenizer.eot_token_id))


class OpenClipImageEncoder(OpenClip):
    """Vision tower (a vision transformer); tokens are the patches, without the class token."""

    @property
    def size(self) -> int:
        return self.config["vision_cfg"]["image_size"]

    @property
    def token_width(self) -> int:
        return self.config["vision_cfg"]["width"]

    @property
    def token_count(self) -> int:
        return (self.size // self.config["vision_cfg"]["patch_size"]) ** 2

    def fingerprint(self) -> Mapping[str, Any]:
        return {"kind": "open_clip_image", **self.identity()}

    @torch.inference_mode()
    def encode(self, pictures: Tensor) -> Features:
        """Pictures (B, 3, size, size) in [0, 1] → vector (B, F), tokens (B, L, F')."""
        network = self.network.to(pictures.device)
        mean, std = (
            torch.tensor(values, device=pictures.device).view(3, 1, 1)
            for values in (network.visual.image_mean, network.visual.image_std)  # type: ignore[union-attr]
        )
        output = network.forward_intermediates(  # type: ignore[operator]
            image=(pictures - mean) / std,
            image_indices=2,
            normalize=False,
            normalize_intermediates=self.layer == "last",
            image_output_fmt="NLC",
        )
        return Features(output["image_features"], output["image_intermediates"][-1 if self.layer == "last" else 0])


def _library() -> ModuleType:
    try:
        import open_clip
    except ImportError as error:
        raise UserError(f"the open_clip sources need open_clip: {install_command('open_clip')}.") from error
    return open_clip
