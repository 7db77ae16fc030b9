"""Sharded checkpoints: a folder with one file per process, which holds its rows of the sharded tensors.

Every file is a plain checkpoint of this project (`weights_only`). torch.distributed.checkpoint would write its index as
a pickle, which runs code when it is read. Here each process writes the whole tree of values; a sharded tensor is
replaced by the process's rows and their first index. Reading joins the rows for any number of processes. All processes
must have access to the same folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from fieldforge.errors import UserError

_ROWS = "fieldforge.rows"  # key by which a spread tensor is known in a file


@dataclass(frozen=True)
class Pieces:
    """A tensor in the files of several processes: each has rows [start, …), read at their first use."""

    shape: tuple[int, ...]
    pieces: tuple[tuple[int, Tensor], ...]  # (start, rows), rising, without gaps

    def rows(self, start: int, end: int) -> Tensor:
        """Rows [start, end) as a tensor of their own."""
        parts = [rows[max(0, start - at) : max(0, end - at)] for at, rows in self.pieces]
        return torch.cat([rows for rows in parts if len(rows)] or [parts[0][:0]])

    def whole(self) -> Tensor:
        return self.rows(0, self.shape[0])

    def __deepcopy__(self, memo: dict) -> Pieces:
        return self  # nobody changes it, and copying would read it all


def file_name(rank: int, world: int) -> str:
    """Name of one process's file within the folder of a checkpoint."""
    return f"rank_{rank:05d}_of_{world:05d}.ckpt"


def is_spread(tree: Any) -> bool:
    """Whether the state contains a sharded tensor."""
    if isinstance(tree, dict):
        return any(map(is_spread, tree.values()))
    return any(map(is_spread, tree)) if isinstance(tree, list | tuple) else isinstance(tree, DTensor)


def own_rows(tree: Any) -> Any:
    """A checkpoint with this process's rows in the place of sharded tensors: the content of its file."""

    def rows_of(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        start, _ = own_range(value)
        return {_ROWS: value.to_local().detach(), "start": start, "shape": list(value.shape)}

    return _mapped(tree, rows_of)


def read_folder(path: Path, load: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The checkpoint in a folder, with `Pieces` in the place of sharded tensors.

    Args:
        path: the folder.
        load: reads one of its files.

    Raises:
        UserError: a file is missing or damaged.
    """
    names = sorted(file.name for file in path.glob("rank_*.ckpt"))
    world = int(names[0].rpartition("_")[2].removesuffix(".ckpt")) if names else 0
    if not names or names != [file_name(rank, world) for rank in range(world)]:
        raise UserError(f"checkpoint {path} has not the files of all its processes: delete it or use another")
    trees = [load(path / name) for name in names]
    try:
        return _joined(trees)
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"checkpoint {path}: its files do not belong together: delete it or use another") from error


def whole(tree: Any) -> Any:
    """A checkpoint for a single process: `Pieces` become tensors."""
    return _mapped(tree, lambda value: value.whole() if isinstance(value, Pieces) else value)


def gathered(tree: Any) -> Any:
    """A state with sharded tensors gathered on the CPU of every process; a collective."""
    return _mapped(
        tree, lambda value: (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu()
        if isinstance(value, Tensor) else value
    )  # fmt: skip


def placed(value: Any, like: Tensor) -> Any:
    """A tensor or `Pieces` sharded like `like`: whole, or this process's rows."""
    if not isinstance(like, DTensor):
        return value.whole() if isinstance(value, Pieces) else value
    if not isinstance(value, Tensor | Pieces) or tuple(value.shape) != tuple(like.shape):
        return value  # a count of steps, say
    start, end = own_range(like)
    rows = value.rows(start, end) if isinstance(value, Pieces) else value[start:end]
    return DTensor.from_local(
        rows.to(device=like.to_local().device, copy=True),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def own_range(tensor: DTensor) -> tuple[int, int]:
    """First and last + 1 of this process's rows, split as by `torch.chunk`."""
    share = -(-tensor.shape[0] // tensor.device_mesh.size())
    start = min(tensor.shape[0], share * tensor.device_mesh.get_local_rank())
    end = min(tensor.shape[0], start + share)
    assert end - start == len(tensor.to_local()), "tensors are spread by rows"
    return start, end


def _mapped(tree: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _mapped(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_mapped(value, change) for value in tree)
    return change(tree)


def _joined(trees: Sequence[Any]) -> Any:
    first = trees[0]
    if isinstance(first, dict) and _ROWS in first:
        pieces = tuple((tree["start"], tree[_ROWS]) for tree in trees)
        return Pieces(tuple(first["shape"]), pieces)
    if isinstance(first, dict):
        return {key: _joined([tree[key] for tree in trees]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_joined([tree[index] for tree in trees]) for index in range(len(first)))
    return first
