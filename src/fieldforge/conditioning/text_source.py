"""Text as a condition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.source import Source
from fieldforge.conditioning.text_encoder import TextEncoder
from fieldforge.ranges import Count, Share, Whole


class TextSource(Source):
    """Captions through a frozen text encoder, each different string encoded once.

    Args:
        encoder: gives the features.
        width: D.
        vector, tokens: which of the sentence vector and the token sequence to offer.
        cache_size: strings whose features are kept in memory (least recently used go first).
        projection: see `Source`.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        width: Count,
        key: str = "caption",
        vector: bool = True,
        tokens: bool = True,
        dropout: Share = 0.1,
        learned_null: bool = True,
        cache_size: Whole = 65536,
        projection: bool = True,
    ) -> None:
        vector_width = encoder.vector_width if vector else None
        token_width = encoder.token_width if tokens else None
        super().__init__(key, width, vector_width, token_width, dropout, learned_null, projection=projection)
        self.encoder = encoder
        self.cache_size = cache_size
        self._cache: OrderedDict[str, Features] = OrderedDict()

    @torch.no_grad()
    def embed(self, values: Sequence[str], device: torch.device) -> Features:
        """Vector (B, F), tokens (B, L, F), mask (B, L), whichever are offered; L is the batch's longest text."""
        return Features.cat([self._encoded(text, device) for text in values]).to(device)

    def unload(self) -> None:
        super().unload()
        self._cache.clear()

    def fingerprint(self) -> Mapping[str, Any]:
        return self.encoder.fingerprint()

    def _encoded(self, text: str, device: torch.device) -> Features:
        # One string a call: in a batch, padding and neighbours change the last bits, and then the features of a caption
        # would depend on the batch that met it first: a resumed run would differ from the uninterrupted one.
        if text not in self._cache:
            self._cache[text] = self.offered(self.encoder.encode([text], device)).to("cpu")
            if len(self._cache) > self.cache_size:
                self._cache.popitem(last=False)
        self._cache.move_to_end(text)
        return self._cache[text]
