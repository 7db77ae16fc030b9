"""Files of weights of others, read as data only: a foreign file cannot run code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from fieldforge.errors import UserError
from fieldforge.storage.files import atomic_file
from fieldforge.training.processes.checkpoints import verify

DIFFUSERS_FILE = "diffusion_pytorch_model"
CONFIG = "config.json"
PICKLES = (".pt", ".pth", ".bin", ".ckpt")


def read_weights(path: str | Path, tables: str = "") -> dict[str, Tensor]:
    """The tensors by name, on the CPU, of a file (.safetensors, or what torch.save wrote) or of a folder of diffusers.

    tables: prefix of tensors that are no weights, and are left out.

    Raises:
        UserError: missing, cut, altered, or with something else than floating-point tensors.
    """
    file = weight_file(path)
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            verify(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # torch and safetensors raise a dozen kinds for damaged files
        raise UserError(
            f"{file} is cut, altered or holds more than weights ({' '.join(str(error).split())[:120]}): use another "
            f"copy of that file"
        ) from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file} holds no tensors by name: give a file of weights")
    content = {name: value for name, value in content.items() if not (tables and str(name).startswith(tables))}
    for name, value in content.items():
        if not (isinstance(name, str) and isinstance(value, Tensor) and value.is_floating_point()):
            raise UserError(
                f"{file}: {str(name)[:100]!r} is no tensor of floating-point numbers: give a file of weights"
            )
    return content


def weight_file(path: str | Path) -> Path:
    """The file of weights at `path`: itself, or that in a folder of diffusers. UserError where there is none."""
    path = Path(path).expanduser()
    if path.is_dir():
        files = [path / f"{DIFFUSERS_FILE}{suffix}" for suffix in (".safetensors", ".bin")]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise UserError(
                f"the folder {path} holds no {files[0].name}: give a file, or a folder that diffusers wrote"
            )
        return found
    if not path.is_file():
        raise UserError(f"there is no file of weights {path}: correct the path")
    if path.suffix not in (".safetensors", *PICKLES):
        raise UserError(f"{path} is no file of weights: give one that ends in .safetensors or {', '.join(PICKLES)}")
    return path


def write_folder(state: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> None:
    """Write weights and config.json as diffusers reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / f"{DIFFUSERS_FILE}.safetensors") as file:
        file.write(save(plain(state), {"format": "pt"}))
    write_json(config, folder / CONFIG)


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file, and the folder that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(json.dumps(content, indent=2).encode())


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, on the CPU, as file formats want them."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def heads_of(config: Path) -> int | None:
    """`num_attention_heads` of the config.json beside weights, without which it is a UserError; None without a file."""
    if not config.is_file():
        return None
    try:
        return int(json.loads(config.read_text())["num_attention_heads"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{config} names no num_attention_heads: use another copy of that file") from error


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: str | Path) -> None:
    """UserError unless `found`, the tensors of the file `path`, have the names and shapes of `expected`."""
    for name, value in expected.items():
        if name not in found:
            raise UserError(
                f"{path} lacks the tensor {name} {tuple(value.shape)}, as the model is configured here: give the "
                f"weights of that model, or its settings"
            )
        if found[name].shape != value.shape:
            raise UserError(
                f"{path}: the tensor {name} is {tuple(found[name].shape)}, and {tuple(value.shape)} as the model is "
                f"configured here: give weights of that size, or their settings"
            )
    for name in found:
        if name not in expected:
            raise UserError(
                f"{path} holds the tensor {name[:100]}, which the model as configured here does not have: give the "
                f"weights of that model, or its settings"
            )
