"""Files of adapters: low-rank corrections of a backbone, in the layout of the library peft.

adapter_config.json          rank, alpha, names of the corrected layers
adapter_model.safetensors    base_model.model.<layer>.lora_A.weight (rank, in) and .lora_B.weight (out, rank)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fieldforge.diffusion.lora import LoRA
from fieldforge.errors import UserError
from fieldforge.nn.low_rank import factors, linear_layers
from fieldforge.storage.files import atomic_file

FOLDER = "adapter"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX, DOWN, UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
OTHER_KINDS = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "fan_in_fan_out")
"""Settings of peft that would change what the files mean, and are off in those written here."""


@dataclass(frozen=True)
class Adapter:
    """An adapter as read from `folder`.

    Args:
        folder: of its two files.
        corrections: layer of the backbone → (A (rank, in), B (out, rank)).
        scale: of B A.
        base: fingerprint of the model that it was trained on, "" where the file does not say.
        run: fingerprint of the training that made it, "" likewise.
    """

    folder: Path
    corrections: Mapping[str, tuple[Tensor, Tensor]]
    scale: float
    base: str
    run: str

    @torch.no_grad()
    def add_to(self, backbone: nn.Module, weight: float) -> None:
        """Add the corrections, times `weight`, to the weights of a backbone.

        Raises:
            UserError: a layer that the backbone lacks or has in another size. Its weights are unchanged then.
        """
        layers = linear_layers(backbone, ["*"])
        for name, (down, up) in self.corrections.items():
            own = tuple(layers[name].weight.shape) if name in layers else None
            if own != (len(up), down.shape[1]):
                has = f"is {own[0]} × {own[1]}" if own else "does not exist"
                raise UserError(
                    f"adapter={self.folder} corrects the layer {name} of {len(up)} × {down.shape[1]}, which {has} in "
                    f"this model: give run= the model that the adapter was trained on"
                )
        for name, (down, up) in self.corrections.items():
            own_weight = layers[name].weight
            own_weight += (weight * self.scale * up @ down).to(own_weight)


def write_adapter(state: Mapping[str, Tensor], prefix: str, lora: LoRA, folder: Path, facts: Mapping[str, str]) -> None:
    """Write the corrections in a state dict.

    Args:
        state: of a model, in which the backbone's names begin with `prefix`.
        prefix: such as "model.backbone.".
        lora: made the corrections.
        folder: is created.
        facts: go into the header of the weights' file.
    """
    corrections = {layer.removeprefix(prefix): pair for layer, pair in factors(state).items()}
    tensors = {f"{PREFIX}{layer}{DOWN}": down for layer, (down, _) in corrections.items()}
    tensors |= {f"{PREFIX}{layer}{UP}": up for layer, (_, up) in corrections.items()}
    config = {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": "|".join(map(re.escape, corrections)),  # a list would also match the ends of other names
        "bias": "none",
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / WEIGHTS) as file:
        file.write(save({name: value.detach().cpu().clone() for name, value in tensors.items()}, dict(facts)))
    with atomic_file(folder / CONFIG) as file:
        file.write(json.dumps(config, indent=2).encode())


def read_adapter(path: str | Path) -> Adapter:
    """The adapter in a folder, or in the folder of the run that trained it.

    Raises:
        UserError: there is none, a file is damaged, or it holds an adapter of another kind.
    """
    place = Path(path).expanduser()
    folder = place / FOLDER if (place / FOLDER).is_dir() else place
    for file in (folder / CONFIG, folder / WEIGHTS):
        if not file.is_file():
            raise UserError(
                f"adapter={path} has no {file.name}: give the folder of a run that was trained with adapter=lora, or "
                f"of an adapter that peft wrote"
            )
    scale = _scale(folder / CONFIG)
    tensors, facts = _weights(folder / WEIGHTS)
    layers = sorted(name.removeprefix(PREFIX).removesuffix(DOWN) for name in tensors if name.endswith(DOWN))
    names = {layer: (f"{PREFIX}{layer}{DOWN}", f"{PREFIX}{layer}{UP}") for layer in layers}
    strange = sorted(tensors.keys() ^ {name for pair in names.values() for name in pair})
    corrections = {} if strange else {layer: (tensors[down], tensors[up]) for layer, (down, up) in names.items()}
    odd = [layer for layer, (a, b) in corrections.items() if a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1]]
    if strange or odd or not corrections:
        raise UserError(
            f"{folder / WEIGHTS} holds no pairs of lora_A and lora_B ({', '.join([*strange, *odd][:2]) or 'nothing'}): "
            f"give an adapter of linear layers"
        )
    return Adapter(folder, corrections, scale, facts.get("base", ""), facts.get("run", ""))


def _scale(file: Path) -> float:
    """alpha / rank of a configuration. UserError for a damaged one, or of another kind than plain LoRA."""
    try:
        config: dict[str, Any] = json.loads(file.read_text())
        kind, scale = config["peft_type"], float(config["lora_alpha"]) / int(config["r"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise UserError(f"{file} names no peft_type, r and lora_alpha: use another copy of that file") from error
    other = [key for key in OTHER_KINDS if config.get(key)]
    if kind != "LORA" or other:
        raise UserError(
            f"{file} is of a kind that is not read here ({', '.join(other) or kind}): give an adapter of plain LoRA"
        )
    return scale


def _weights(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header of a file, in float32. UserError for a damaged one."""
    try:
        with safe_open(file, "pt") as content:
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 (no mapping)
            facts = content.metadata() or {}
    except Exception as error:  # safetensors raises its own kinds, and those of the system
        raise UserError(f"{file} is cut or altered: use another copy of that file") from error
    if any(not value.is_floating_point() or not value.isfinite().all() for value in tensors.values()):
        raise UserError(f"{file} holds other than finite numbers: use another copy of that file")
    return {name: value.float() for name, value in tensors.items()}, facts
