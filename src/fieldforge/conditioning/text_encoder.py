"""Frozen text encoders of the transformers library (MiniLM, BERT, T5 …)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch.nn import functional as F

from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.pretrained import locate_model, missing_model, weights_fingerprint

log = logging.getLogger(__name__)

Layer = Literal["last", "penultimate"]


class TextEncoder(Protocol):
    """Strings → a sentence vector (B, F) and token features (B, L, F') with their mask."""

    vector_width: int
    token_width: int

    def encode(self, texts: Sequence[str], device: torch.device) -> Features: ...

    def fingerprint(self) -> Mapping[str, Any]: ...


class SentenceEncoder:
    """Any transformers text encoder; the sentence vector is the mean over the real tokens, of unit length.

    That is the pooling of Sentence-BERT (arXiv 1908.10084, section 3). Nothing is loaded before the first use, and the
    object is no `nn.Module`: frozen weights never reach a checkpoint.

    Args:
        model: a local folder, an installed package that carries one, or a hub name.
        layer: hidden layer that tokens and vector are taken from.
        max_tokens: longer texts are cut (with a warning that shows the cut); at most what the model takes.
    """

    def __init__(self, model: str, layer: Layer = "last", max_tokens: int = 128) -> None:
        self.model, self.layer, self.max_tokens = model, layer, max_tokens

    @property
    def vector_width(self) -> int:
        return self._config.hidden_size

    @property
    def token_width(self) -> int:
        return self._config.hidden_size

    def fingerprint(self) -> Mapping[str, Any]:
        path = locate_model(self.model)
        weights = weights_fingerprint(path) if Path(path).is_dir() else path
        return {"kind": "sentence", "weights": weights, "layer": self.layer, "max_tokens": self.max_tokens}

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], device: torch.device) -> Features:
        """Vector (B, F) of unit length, tokens (B, L, F), mask (B, L); L is the longest text of the call."""
        model = self._network.to(device)
        ids = self.tokenize(texts).to(device)
        hidden = model(**ids, output_hidden_states=self.layer == "penultimate")
        tokens = hidden.last_hidden_state if self.layer == "last" else hidden.hidden_states[-2]  # (B, L, F)
        mask = ids["attention_mask"].bool()  # (B, L)
        weight = mask[..., None].to(tokens.dtype)
        mean = (tokens * weight).sum(1) / weight.sum(1)  # (B, F)
        return Features(F.normalize(mean, dim=-1), tokens, mask)

    def tokenize(self, texts: Sequence[str]) -> Any:
        """Token ids and attention mask, padded on the right to the longest text; too long texts are cut and logged."""
        limit = min(self.max_tokens, self._tokenizer.model_max_length)
        for text in texts:
            warn_if_cut(self._tokenizer, text, limit)
        return self._tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        return load_pretrained(AutoConfig, self.model)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return load_pretrained(AutoTokenizer, self.model)

    @cached_property
    def _network(self) -> torch.nn.Module:
        from transformers import AutoModel, AutoModelForTextEncoding

        kind = AutoModelForTextEncoding if self._config.is_encoder_decoder else AutoModel
        return load_pretrained(kind, self.model).eval().requires_grad_(False)

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes and run configs get the settings; each loads its own weights when it needs them.
        return {"model": self.model, "layer": self.layer, "max_tokens": self.max_tokens}


def load_pretrained(kind: Any, name: str) -> Any:
    """`kind.from_pretrained` of a located model; a missing one is a UserError that says what to get."""
    try:
        return kind.from_pretrained(locate_model(name))
    except (OSError, ImportError) as error:
        raise missing_model(name, error) from error


def warn_if_cut(tokenizer: Any, text: str, limit: int) -> None:
    """Logs where a text over `limit` tokens (special ones included) will be cut, with both sides of the cut."""
    # A character is at least a token only in the worst case: short texts are not tokenised twice.
    if len(text) + 2 <= limit:
        return
    whole = tokenizer(text, truncation=False, add_special_tokens=True, verbose=False)["input_ids"]
    if len(whole) <= limit:
        return
    kept = tokenizer.decode(tokenizer(text, truncation=True, max_length=limit)["input_ids"], skip_special_tokens=True)
    log.warning(
        "A text of %d tokens is cut to the %d that the encoder takes: it ends at “…%s” and loses “%s”.",
        len(whole),
        limit,
        kept[-40:],
        tokenizer.decode(whole[limit - 1 :], skip_special_tokens=True)[:80],
    )
