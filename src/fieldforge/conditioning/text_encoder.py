"""Frozen text encoders: sentence models (MiniLM, BERT, T5 …) and the text towers of CLIP and SigLIP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch.nn import functional as F

from fieldforge.conditioning.clip_checkpoint import ClipCheckpoint, Layer
from fieldforge.conditioning.condition import Features
from fieldforge.conditioning.hub import Pretrained
from fieldforge.errors import UserError
from fieldforge.ranges import Count

log = logging.getLogger(__name__)
SHOWN = 200  # characters of what a cut takes away


class TextEncoder(Protocol):
    """Strings → a vector for the whole text (B, F) and token features (B, L, F') with their mask."""

    @property
    def vector_width(self) -> int: ...

    @property
    def token_width(self) -> int: ...

    def encode(self, texts: Sequence[str], device: torch.device) -> Features: ...

    def fingerprint(self) -> Mapping[str, Any]: ...


class SentenceEncoder(Pretrained):
    """Any transformers text encoder, with Sentence-BERT's mean pooling (arXiv 1908.10084, section 3).

    The text's vector is the mean over its real tokens, normalised to unit length.

    Args:
        model: a local folder, an installed package that carries one, or a hub name.
        layer: hidden layer of tokens and vector.
        max_tokens: longer texts are truncated, with a warning that shows the cut.
    """

    def __init__(self, model: str, layer: Layer = "last", max_tokens: Count = 128) -> None:
        super().__init__(model)
        self.layer, self.max_tokens = layer, max_tokens

    @property
    def vector_width(self) -> int:
        return self.config.hidden_size

    @property
    def token_width(self) -> int:
        return self.config.hidden_size

    def fingerprint(self) -> Mapping[str, Any]:
        return {"kind": "sentence", "weights": self.weights(), "layer": self.layer, "max_tokens": self.max_tokens}

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], device: torch.device) -> Features:
        """Vector (B, F) of unit length, tokens (B, L, F), mask (B, L); L is the longest text of the call."""
        ids = tokenize(self.tokenizer, texts, self.max_tokens).to(device)
        output = self.network.to(device)(**ids, output_hidden_states=True)
        tokens = hidden_layer(output, self.layer)  # (B, L, F)
        mask = ids["attention_mask"].bool()  # (B, L)
        mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # (B, F)
        return Features(F.normalize(mean, dim=-1), tokens, mask)

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self.load(AutoTokenizer)

    @cached_property
    def network(self) -> torch.nn.Module:
        from transformers import AutoModel, AutoModelForTextEncoding
        from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

        # Of models that also decode (T5), the encoder alone.
        has_encoder = type(self.config) in MODEL_FOR_TEXT_ENCODING_MAPPING
        return self.load_network(AutoModelForTextEncoding if has_encoder else AutoModel)


class ClipTextEncoder(ClipCheckpoint):
    """Text tower of a CLIP or SigLIP checkpoint: its pooled, projected vector and its hidden tokens."""

    @property
    def vector_width(self) -> int:
        text = self._text_config
        return text.projection_size if self.is_siglip else self.config.projection_dim

    @property
    def token_width(self) -> int:
        return self._text_config.hidden_size

    @property
    def max_tokens(self) -> int:
        return self._text_config.max_position_embeddings

    def fingerprint(self) -> Mapping[str, Any]:
        return {"kind": "clip_text", "weights": self.weights(), "layer": self.layer}

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], device: torch.device) -> Features:
        """Vector (B, F), tokens (B, L, F'), mask (B, L): true up to the end-of-text token, whatever pads behind it."""
        # SigLIP was trained on texts padded to full length without a mask, and pools the last position: so it is fed.
        ids = tokenize(self.tokenizer, texts, self.max_tokens, "max_length" if self.is_siglip else "longest").to(device)
        mask = until_end_of_text(ids["input_ids"], self.tokenizer.eos_token_id)  # (B, L)
        attended = {} if self.is_siglip else {"attention_mask": mask.long()}
        output = self.network.to(device)(input_ids=ids["input_ids"], **attended, output_hidden_states=True)
        vector = output.pooler_output if self.is_siglip else output.text_embeds  # (B, F)
        return Features(vector, hidden_layer(output, self.layer), mask)

    @property
    def _text_config(self) -> Any:
        return self.tower("text")

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self.load(AutoTokenizer)

    @cached_property
    def network(self) -> torch.nn.Module:
        from transformers import CLIPTextModelWithProjection, SiglipTextModel

        return self.load_network(SiglipTextModel if self.is_siglip else CLIPTextModelWithProjection)


def hidden_layer(output: Any, layer: Layer) -> torch.Tensor:
    """Tokens (B, L, F) of a transformers output computed with all hidden states."""
    return output.last_hidden_state if layer == "last" else output.hidden_states[-2]


def tokenize(tokenizer: Any, texts: Sequence[str], max_tokens: int, padding: str = "longest") -> Any:
    """Token ids and mask, padded on the right; too long texts are cut, and the cut is logged.

    Raises UserError for a text without anything in it.
    """
    limit = min(max_tokens, tokenizer.model_max_length)
    text_limit = limit - tokenizer.num_special_tokens_to_add()
    for text in texts:
        refuse_empty(text)
        if len(text.encode()) > text_limit:  # a token is at least a byte: short texts are not tokenised twice
            warn_of_cut(
                tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"], text_limit, tokenizer.decode
            )
    return tokenizer(
        list(texts), padding=padding, padding_side="right", truncation=True, max_length=limit, return_tensors="pt"
    )


def refuse_empty(text: str) -> None:
    """UserError for a text without anything in it."""
    if not text.strip():
        raise UserError("a prompt is empty: write what the shape should be, or leave the prompt out altogether.")


def warn_of_cut(ids: Sequence[int], limit: int, decode: Callable[[Sequence[int]], str]) -> None:
    """Logs both sides of the cut where a text has more tokens than are `kept`, special ones aside."""
    if len(ids) > limit:
        rest = decode(ids[limit:]).strip()
        log.warning(
            "A prompt of %d tokens is cut to the %d that the encoder takes: it now ends “…%s” and loses “%s”.",
            len(ids),
            limit,
            decode(ids[:limit])[-60:].strip(),
            rest if len(rest) <= SHOWN else f"{rest[:SHOWN]} …",
        )


def until_end_of_text(ids: torch.Tensor, end: int) -> torch.Tensor:
    """(B, L) bool: everything up to and with the first end-of-text token. Padding with the same token stays out."""
    is_end = ids == end
    return (is_end.cumsum(1) - is_end.long()) == 0
