"""Permission to download encoders: an encoder that the user names may be fetched, one of a stored run may not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_may_fetch: ContextVar[bool] = ContextVar("may_fetch", default=True)


@contextmanager
def local_encoders() -> Iterator[None]:
    """Encoders built inside this context load from this machine alone, also later: no hub learns their names."""
    token = _may_fetch.set(False)
    try:
        yield
    finally:
        _may_fetch.reset(token)


def may_fetch() -> bool:
    """Whether an encoder built now may contact a hub."""
    return _may_fetch.get()


@contextmanager
def offline() -> Iterator[None]:
    """Inside this context no request reaches the hub, not even a library's own look-ups."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
