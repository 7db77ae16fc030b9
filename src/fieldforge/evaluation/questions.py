"""Questions: the prompts of an evaluation, with the labels of matching training samples."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fieldforge.conditioning.prompts import frequent_names, name_meant, read_prompts
from fieldforge.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Question:
    """A prompt `text` for training samples of this `name` and `kind` (class); None: no training sample has one."""

    text: str
    name: str | None
    kind: str | None


def questions_for(metas: Sequence[Mapping[str, Any]], keys: set[str], count: int, file: str | None) -> list[Question]:
    """Questions of a file; without one every class, for a model that reads classes alone, or the most frequent names.

    Args:
        metas: of the training samples.
        keys: condition keys of the model.
        count: number of names.
        file: of prompts.

    Raises:
        UserError: a file without texts, or a text that means no class for a model that reads no texts.
    """
    if file is None and keys == {"class"}:
        return [Question(kind, None, kind) for kind in sorted({meta["class"] for meta in metas})]
    return questions_of(frequent_names(metas, count) if file is None else texts_of(file), metas, keys)


def questions_of(texts: Sequence[str], metas: Sequence[Mapping[str, Any]], keys: set[str]) -> list[Question]:
    """A question for each text. UserError for one that means no class, for a model that reads no texts."""
    class_of = {meta["name"].lower(): meta["class"] for meta in metas}
    questions = []
    for text in texts:
        name = name_meant(text, sorted(class_of))
        if name is None and "caption" not in keys:
            raise UserError(f"this model reads no texts, and no training name is in the prompt {text!r}: leave it out")
        questions.append(Question(text, name, None if name is None else class_of[name]))
    return questions


def asked_with(questions: Sequence[Question], keys: set[str]) -> dict[str, list[str]]:
    """Batch for a model that reads `keys`: the text alone if it reads texts, else the class."""
    if "caption" in keys:
        return {"caption": [question.text for question in questions]}
    return {"class": [question.kind or "" for question in questions]}


def texts_of(path: str, key: str = "prompts.file") -> list[str]:
    """The texts of the prompts file that a key names; a warning names each unusable line."""
    prompts = read_prompts(path, key)
    for complaint in prompts.complaints:
        log.warning("%s (left out)", complaint)
    texts = [prompt.text for prompt in prompts.prompts if prompt.text]
    if not texts:
        raise UserError(f"{key}={path} holds no texts: give a file with one prompt a line")
    return texts
