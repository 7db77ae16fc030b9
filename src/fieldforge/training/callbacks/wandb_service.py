"""The service of Weights & Biases: whether it can be had, and a run that begins online or offline."""

from __future__ import annotations

import contextlib
import logging
import netrc
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

log = logging.getLogger(__name__)
SECONDS = 20  # in which the service has to let a run begin
LAST_SECONDS = 60  # for what is not uploaded yet when a run ends; `wandb sync` sends the rest


def unreachable(url: str, seconds: float = 5.0) -> str | None:
    """Why the host of `url`, or the proxy before it, does not answer; None if it answers."""
    reasons = ["no answer"]

    def ask() -> None:
        try:
            place = urlparse(url)
            proxy = getproxies().get(place.scheme)
            if proxy and not proxy_bypass(place.hostname or ""):
                place = urlparse(proxy)
            port = place.port or (443 if place.scheme == "https" else 80)
            socket.create_connection((place.hostname or "", port), seconds).close()
            reasons.clear()
        except (OSError, ValueError) as error:
            reasons[0] = first_line(error)

    thread = threading.Thread(target=ask, daemon=True)  # names may take a minute to be not found
    thread.start()
    thread.join(seconds)
    return reasons[0] if reasons else None


def begin_run(settings: dict[str, Any], mode: str) -> Any:
    """A run of the library: online where the service lets it begin, else offline, else disabled."""
    import wandb

    disable_telemetry()
    Path(settings["dir"]).mkdir(parents=True, exist_ok=True)
    if mode == "online":
        reason = unreachable(address())
        if reason is None:
            try:
                limits = wandb.Settings(init_timeout=SECONDS, finish_timeout=LAST_SECONDS)
                return wandb.init(settings=limits, mode="online", **settings)
            except Exception as error:  # a key that it refuses, a service that does not answer, …
                reason = first_line(error)
        log.warning(
            "warning: Weights & Biases at %s: %s; this run is written offline below %s, `wandb sync` sends it later",
            address(),
            reason,
            settings["dir"],
        )
        with contextlib.suppress(Exception):
            wandb.teardown()  # it keeps what it has begun with
    if mode != "disabled":
        try:
            with environment(WANDB_API_KEY=None, WANDB_MODE="offline"):  # a malformed key is refused offline too
                return wandb.init(mode="offline", **{**settings, "resume": None})
        except Exception as error:
            log.warning("warning: Weights & Biases fails (%s): all goes on without it", first_line(error))
    return wandb.init(mode="disabled")


def disable_telemetry() -> None:
    """Disables the library's usage reports: without an answer of the service they delay the command's end by 20
    seconds.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from wandb.analytics.opentelemetry import opentelemetry_proxy

        opentelemetry_proxy.disable()


@contextlib.contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Environment variables with other values for a while; None: without it."""
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def usual_mode() -> str:
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
        return "disabled"
    from_environment = os.environ.get("WANDB_MODE", "").lower()
    if from_environment in ("disabled", "offline", "dryrun"):
        return from_environment.replace("dryrun", "offline")
    return "online" if has_key() else "offline"


def has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlparse(address()).hostname or "") is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def address() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def first_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[0].split()).rstrip(".") or type(error).__name__
