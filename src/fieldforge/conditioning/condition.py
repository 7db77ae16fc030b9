"""The features of a source (`Features`) and the condition that the backbone reads (`Condition`).

Axis letters: B batch, L condition tokens, F width of an encoder's features, D condition width, T latent tokens, A
numbers of a condition at each of these, V frames of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Features:
    """Raw features of one source: a pooled vector, a sequence of tokens with its mask, numbers at each latent token.

    `vector` (B, F) goes to adaptive normalisation, `tokens` (B, L, F') to attention. `mask` (B, L) bool is True at real
    tokens; without a mask all tokens are real. F and F' may differ. The backbone reads `aligned` (B, T, A) beside the
    noisy latent; (B, 1, A) has the same numbers at every token. `frames` (B, V, F) is a vector of each frame of a clip;
    (B, 1, F) has the same for every frame.
    """

    vector: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    aligned: Tensor | None = None
    frames: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens is not None and self.mask is None:
            object.__setattr__(
                self, "mask", torch.ones(self.tokens.shape[:2], dtype=torch.bool, device=self.tokens.device)
            )
        assert self.vector is None or self.vector.ndim == 2, f"vector is (B, F), not {tuple(self.vector.shape)}"
        assert self.tokens is None or self.tokens.ndim == 3, f"tokens are (B, L, F), not {tuple(self.tokens.shape)}"
        assert (self.tokens is None) == (self.mask is None), "a mask belongs to tokens"
        assert self.aligned is None or self.aligned.ndim == 3, f"aligned is (B, T, A), not {tuple(self.aligned.shape)}"
        assert self.frames is None or self.frames.ndim == 3, f"frames are (B, V, F), not {tuple(self.frames.shape)}"
        if self.tokens is not None and self.mask is not None:
            assert self.mask.dtype == torch.bool, f"the mask is bool, not {self.mask.dtype}"
            assert self.mask.shape == self.tokens.shape[:2], (
                f"mask {tuple(self.mask.shape)} for {tuple(self.tokens.shape)}"
            )
            assert self.vector is None or len(self.vector) == len(self.tokens), "vector and tokens differ in batch size"

    @property
    def batch_size(self) -> int | None:
        """B, or None for an empty condition."""
        present = [part for part in (self.vector, self.tokens, self.aligned, self.frames) if part is not None]
        return len(present[0]) if present else None

    @property
    def device(self) -> torch.device | None:
        """That of its parts, or None for an empty condition."""
        return next((part.device for part in self._values() if part is not None), None)

    def to(self, *args, **kwargs) -> Self:
        """Moves like `Tensor.to`; a dtype reaches all but the mask."""
        moved = {name: None if t is None else t.to(*args, **kwargs) for name, t in self._items()}
        if moved["mask"] is not None:
            moved["mask"] = moved["mask"].bool()
        return type(self)(**moved)

    def rows(self, index: Tensor | slice) -> Self:
        """The chosen rows of the batch, in the order of `index`."""
        return type(self)(**{name: None if t is None else t[index] for name, t in self._items()})

    def repeat(self, times: int) -> Self:
        """Each row `times` times in a row: B → B · times."""
        return type(self)(**{name: None if t is None else t.repeat_interleave(times, 0) for name, t in self._items()})

    def padded(self, length: int) -> Self:
        """Tokens padded with masked zeros to L = `length`; unchanged without tokens."""
        if self.tokens is None or self.mask is None or self.tokens.shape[1] == length:
            return self
        more = length - self.tokens.shape[1]
        assert more > 0, f"{self.tokens.shape[1]} tokens do not fit into {length}"
        return replace(self, tokens=F.pad(self.tokens, (0, 0, 0, more)), mask=F.pad(self.mask, (0, more)))

    def at_tokens(self, count: int) -> Self:
        """`aligned` repeated to T = `count` tokens where it has a single row; unchanged without any."""
        if self.aligned is None or self.aligned.shape[1] == count:
            return self
        assert self.aligned.shape[1] == 1, f"numbers at {self.aligned.shape[1]} tokens do not fit to {count}"
        return replace(self, aligned=self.aligned.expand(-1, count, -1))

    def at_frames(self, count: int) -> Self:
        """`frames` repeated to V = `count` frames where it has a single row; unchanged without any."""
        if self.frames is None or self.frames.shape[1] == count:
            return self
        assert self.frames.shape[1] == 1, f"vectors of {self.frames.shape[1]} frames do not fit to {count}"
        return replace(self, frames=self.frames.expand(-1, count, -1))

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Stacks batches: (B₁ + B₂ + …) rows; shorter token sequences are padded with masked zeros."""
        assert parts, "cat of nothing"
        length = max((part.tokens.shape[1] for part in parts if part.tokens is not None), default=0)
        count = max((part.aligned.shape[1] for part in parts if part.aligned is not None), default=0)
        frames = max((part.frames.shape[1] for part in parts if part.frames is not None), default=0)
        joined: dict[str, Tensor | None] = {}
        for field in fields(cls):
            name = field.name
            values = [getattr(part.padded(length).at_tokens(count).at_frames(frames), name) for part in parts]
            present = [t for t in values if t is not None]
            assert len(present) in (0, len(values)), f"some parts have {name}, others none"
            joined[name] = torch.cat(present) if present else None
        return cls(**joined)

    @classmethod
    def from_rows(cls, rows: Sequence[FeatureRow]) -> Self:
        """Stacks rows, each with an L of its own."""
        return cls.cat([cls(**{name: torch.from_numpy(value[None]) for name, value in r.arrays.items()}) for r in rows])

    def only(self, vector: bool, tokens: bool) -> Self:
        """The features with only the requested parts."""
        return type(self)(self.vector if vector else None, *((self.tokens, self.mask) if tokens else ()))

    def _items(self) -> list[tuple[str, Tensor | None]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def _values(self) -> list[Tensor | None]:
        return [value for _, value in self._items()]


class FeatureRow:
    """Features of one sample on their way through a data loader: `vector (F,)`, `tokens (L, F)`, `mask (L,)` bool.

    `encoder` is the fingerprint of the source that made them. The class is neither a mapping nor a dataclass: data
    loaders would take those apart and send each array of each sample by itself.
    """

    def __init__(self, encoder: Mapping[str, Any], **arrays: np.ndarray) -> None:
        self.encoder, self.arrays = encoder, arrays


@dataclass(frozen=True)
class Condition(Features):
    """The condition of the denoiser: `vector` (B, D), `tokens` (B, L, D), `mask` (B, L) bool, `aligned` (B, T or 1, A),
    `frames` (B, V or 1, D).

    Each may be absent.

    At least one token of every row is real, so that attention never runs over masked tokens alone.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vector is not None and self.tokens is not None:
            assert self.vector.shape[1] == self.tokens.shape[2], (
                f"one width for both: vector {tuple(self.vector.shape)}, tokens {tuple(self.tokens.shape)}"
            )

    @property
    def width(self) -> int | None:
        """D, or None for an empty condition."""
        features = next((part for part in (self.vector, self.tokens, self.frames) if part is not None), None)
        return None if features is None else features.shape[-1]

    def where(self, drop: Tensor, null: Condition) -> Condition:
        """The row of the null condition where `drop` (B,) bool is set, else this row; L is the longer of the two."""
        length = max((c.tokens.shape[1] for c in (self, null) if c.tokens is not None), default=0)
        own, other = self.padded(length), null.padded(length)
        parts: dict[str, Tensor | None] = {}
        for (name, mine), theirs in zip(own._items(), other._values(), strict=True):
            assert (mine is None) == (theirs is None), f"only one of condition and null has {name}"
            if mine is None or theirs is None:
                parts[name] = None
            else:
                parts[name] = torch.where(drop.view(-1, *[1] * (mine.ndim - 1)), theirs, mine)
        return Condition(**parts)

    def lerp(self, other: Condition, weight: float | Tensor) -> Condition:
        """Linear interpolation from this condition (weight 0) to another (1), element by element; masks are not mixed.

        The weight is one number, or (B,) numbers. A token that only one of the two has is mixed with zeros and counts
        as real strictly between the ends.
        """
        length = max((c.tokens.shape[1] for c in (self, other) if c.tokens is not None), default=0)
        start, end = self.padded(length), other.padded(length)
        vector = tokens = mask = aligned = frames = None
        if start.vector is not None and end.vector is not None:
            rows = torch.as_tensor(weight).reshape(-1, 1).to(start.vector)  # (B, 1) or (1, 1)
            vector = torch.lerp(start.vector, end.vector, rows)
        if start.tokens is not None and end.tokens is not None and start.mask is not None and end.mask is not None:
            rows = torch.as_tensor(weight).reshape(-1, 1).to(start.tokens)  # (B, 1) or (1, 1)
            ends = start.tokens * start.mask[..., None], end.tokens * end.mask[..., None]  # (B, L, D) each
            tokens = torch.lerp(*ends, rows[..., None])
            mask = (start.mask & (rows < 1)) | (end.mask & (rows > 0))
        if start.aligned is not None and end.aligned is not None:
            rows = torch.as_tensor(weight).reshape(-1, 1, 1).to(start.aligned)  # (B, 1, 1) or (1, 1, 1)
            aligned = torch.lerp(start.aligned, end.aligned, rows)
        if start.frames is not None and end.frames is not None:
            rows = torch.as_tensor(weight).reshape(-1, 1, 1).to(start.frames)  # (B, 1, 1) or (1, 1, 1)
            frames = torch.lerp(start.frames, end.frames, rows)
        return Condition(vector, tokens, mask, aligned, frames)
