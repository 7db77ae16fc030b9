"""Class labels as a condition."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.source import Source
from fieldforge.errors import UserError
from fieldforge.ranges import Count, Share
from fieldforge.terminal import quantity


class ClassSource(Source):
    """A learned vector per class. Features are one-hot rows (B, K); other rows mean mixtures of classes."""

    encodes = False

    def __init__(
        self,
        classes: Sequence[str] | None,
        width: Count,
        key: str = "class",
        dropout: Share = 0.1,
        learned_null: bool = True,
    ) -> None:
        if not classes:
            raise UserError(
                "conditioner.classes is empty, so the class source has nothing to tell apart: list the class names "
                "there, or use data whose manifest lists its classes."
            )
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        if twice:
            raise UserError(f"conditioner.classes names {', '.join(twice)} more than once: list each class once.")
        super().__init__(key, width, len(classes), None, dropout, learned_null, normalize=False)
        self.classes = tuple(classes)
        self._index = {name: i for i, name in enumerate(self.classes)}

    def embed(self, values: Sequence[str], device: torch.device) -> Features:
        """One-hot rows (B, K). Raises UserError for an unknown name, with the nearest known ones."""
        index = torch.tensor([self._lookup(name) for name in values], device=device)
        return Features(vector=F.one_hot(index, len(self.classes)).float())  # (B, K)

    def vectors_by_name(self, weight: Tensor, null: Tensor | None, classes: Sequence[str]) -> Tensor:
        """Initial class vectors (W, K) out of another model's: each class takes the vector of its name.

        Args:
            weight: (W, K'), one column for each of `classes`.
            null: (W,) vector of no class, the initial value of new classes; None: zeros.
        """
        known = dict(zip(classes, weight.unbind(1), strict=True))
        new = torch.zeros_like(weight[:, 0]) if null is None else null
        return torch.stack([known.get(name, new) for name in self.classes], 1)

    def fingerprint(self) -> Mapping[str, Any]:
        return {"kind": "class", "classes": list(self.classes)}

    def _lookup(self, name: str) -> int:
        if name in self._index:
            return self._index[name]
        raise UserError(
            f"class={name!r} is not one of the {quantity(len(self.classes), 'class')} of this model: "
            f"{nearest_of(name, self.classes)}"
        )


def nearest_of(name: str, classes: Sequence[str]) -> str:
    """Suggestions for a name that is none of the classes: the most similar classes, else the known ones."""
    folded = {known.casefold(): known for known in classes}
    near = difflib.get_close_matches(str(name).casefold(), folded, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(folded[one] for one in near) + "?"
    return f"known are {', '.join(classes[:20])}"
