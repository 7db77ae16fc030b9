"""Whether encoders may be fetched: one that the user names may, one of a stored run is taken from this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_may_fetch: ContextVar[bool] = ContextVar("may_fetch", default=True)


@contextmanager
def local_encoders() -> Iterator[None]:
    """Encoders that are built within are taken from this machine alone, also later: no hub is asked for their names."""
    token = _may_fetch.set(False)
    try:
        yield
    finally:
        _may_fetch.reset(token)


def may_fetch() -> bool:
    """Whether an encoder that is built now may ask a hub."""
    return _may_fetch.get()


@contextmanager
def offline() -> Iterator[None]:
    """No request reaches the hub, whatever a library wants to look up there beside what it is told to."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
