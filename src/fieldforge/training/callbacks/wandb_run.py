"""Weights & Biases, opt-in: a missing account, network or service never stops a training."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import netrc
import os
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from fieldforge.rendering.gallery import Exhibit
from fieldforge.training.callbacks.context import TrainingContext

log = logging.getLogger(__name__)
_SECONDS = 20  # in which the service has to let a run begin
_LAST_SECONDS = 60  # for what is not uploaded yet when a run ends; `wandb sync` sends the rest
_STEP = "trainer/global_step"


class Reporter(WandbLogger):
    """A logger whose run starts online where possible, else offline; after an error of the service it is silent.

    Args:
        mode: "online", "offline" or "disabled".
        artifact: whether the finished model goes along.
        options: as Lightning's logger takes them.
    """

    def __init__(self, mode: str, artifact: bool = False, **options: Any):
        super().__init__(log_model=False, **options)
        self.mode, self.artifact = mode, artifact
        self._silent = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; of the first process alone."""
        if self._experiment is None:
            self._experiment = _begin(self._wandb_init, self.mode)
            self._attempt(self._experiment.define_metric, _STEP)
            self._attempt(self._experiment.define_metric, "*", step_metric=_STEP, step_sync=True)
            best = {"step_metric": _STEP, "step_sync": True, "summary": "min,last"}
            self._attempt(self._experiment.define_metric, "heldout/*", **best)
        return self._experiment

    def log_hyperparams(self, params: Any, *args: Any, **options: Any) -> None:
        self._attempt(super().log_hyperparams, params, *args, **options)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self._attempt(super().log_metrics, metrics, step)

    def log_image(self, key: str, images: list[Any], step: int | None = None, **options: Any) -> None:
        self._attempt(super().log_image, key, images, step, **options)

    def log_exhibits(self, exhibits: Sequence[Exhibit], step: int) -> None:
        """A table of the samples of a picture, and each shape as an object that turns."""
        self._attempt(self._log_exhibits, exhibits, step)

    def log_model_file(self, path: Path) -> None:
        """The finished model as an artifact of the run's name, where that is wished."""
        if self.artifact:
            self._attempt(self._log_model_file, path)

    @rank_zero_only
    def _log_exhibits(self, exhibits: Sequence[Exhibit], step: int) -> None:
        import wandb

        table, shapes = wandb.Table(columns=["prompt", "seed", "picture"]), []
        with tempfile.TemporaryDirectory() as folder:
            for number, one in enumerate(exhibits):
                if one.media is not None and one.media.turns:
                    place = Path(folder) / f"{number}.glb"
                    place.write_bytes(one.media.content)
                    shapes.append(wandb.Object3D(str(place), caption=one.prompt))  # tables take none
                table.add_data(one.prompt, one.facts.get("seed"), wandb.Image(one.poster.convert("RGBA")))
            found = {"samples": table} | ({"shapes": shapes} if shapes else {})
            self.experiment.log({**found, _STEP: step})

    @rank_zero_only
    def _log_model_file(self, path: Path) -> None:
        import wandb

        artifact = wandb.Artifact(clean_id(self.experiment.id), type="model", metadata={"run": str(path.parent)})
        artifact.add_file(str(path))
        self.experiment.log_artifact(artifact)

    def finalize(self, status: str) -> None:
        self._attempt(super().finalize, status)

    def _attempt(self, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        if self._silent:
            return
        try:
            call(*args, **options)
        except Exception as error:  # whatever the library raises: only a copy of metrics.csv is lost
            self._silent = True
            log.warning("warning: Weights & Biases fails (%s): the training goes on without it", _line(error))


class Wandb:
    """The choice `logger=wandb`: `begin` makes the logger.

    Args:
        project: of the service.
        artifact: whether the finished model goes along.
        mode: "online", "offline" or "disabled"; None: WANDB_MODE and WANDB_DISABLED are honoured, else online where
            there is a key and the service can be had.
        options: further ones, as Lightning's logger takes them.
    """

    def __init__(self, project: str = "fieldforge", mode: str | None = None, artifact: bool = False, **options: Any):
        self.project, self.mode, self.artifact, self.options = project, mode, artifact, options

    def begin(self, context: TrainingContext) -> Reporter:
        """A logger whose run has the id of ours, so that a resumed training goes on in the same one.

        Under an agent of a sweep it has the id that the agent gives.

        Without a key, or where the service cannot be had, it writes offline below the run's directory; `wandb sync`
        sends that later.
        """
        run_id = f"{context.config['name']}-{context.stage}-{context.fingerprint}"
        return Reporter(
            self.mode or _mode(),
            self.artifact,
            project=self.project,
            id=os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else clean_id(run_id),
            name=run_id[:128],
            save_dir=str(context.run),
            config=dict(context.config),
            **self.options,
        )


def finish() -> None:
    """End the current run, if there is one; else the next training of this process would write into it."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    try:
        wandb.finish()
    except Exception as error:
        log.warning("warning: Weights & Biases has not ended its run (%s)", _line(error))
        with contextlib.suppress(Exception):
            wandb.teardown()
        unset_globals = getattr(wandb.sdk.lib.module, "unset_globals", None)
        if unset_globals is not None:
            unset_globals()  # else the next run would be that one


def clean_id(run_id: str) -> str:
    """A run id in characters that the service accepts; different ids stay different."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)[:96]
    return cleaned if cleaned == run_id != "" else f"{cleaned}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


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
            reasons[0] = _line(error)

    thread = threading.Thread(target=ask, daemon=True)  # names may take a minute to be not found
    thread.start()
    thread.join(seconds)
    return reasons[0] if reasons else None


def _begin(settings: dict[str, Any], mode: str) -> Any:
    import wandb

    _disable_telemetry()
    Path(settings["dir"]).mkdir(parents=True, exist_ok=True)
    if mode == "online":
        reason = unreachable(_address())
        if reason is None:
            try:
                limits = wandb.Settings(init_timeout=_SECONDS, finish_timeout=_LAST_SECONDS)
                return wandb.init(settings=limits, mode="online", **settings)
            except Exception as error:  # a key that it refuses, a service that does not answer, …
                reason = _line(error)
        log.warning(
            "warning: Weights & Biases at %s: %s; this run is written offline below %s, `wandb sync` sends it later",
            _address(),
            reason,
            settings["dir"],
        )
        with contextlib.suppress(Exception):
            wandb.teardown()  # it keeps what it has begun with
    if mode != "disabled":
        try:
            with _environment(WANDB_API_KEY=None, WANDB_MODE="offline"):  # a malformed key is refused offline too
                return wandb.init(mode="offline", **{**settings, "resume": None})
        except Exception as error:
            log.warning("warning: Weights & Biases fails (%s): the training goes on without it", _line(error))
    return wandb.init(mode="disabled")


def _disable_telemetry() -> None:
    """Disables the library's usage reports: without an answer of the service they delay the command's end by 20
    seconds.
    """
    with contextlib.suppress(ImportError, AttributeError):
        from wandb.analytics.opentelemetry import opentelemetry_proxy

        opentelemetry_proxy.disable()


@contextlib.contextmanager
def _environment(**values: str | None) -> Iterator[None]:
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


def _mode() -> str:
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
        return "disabled"
    from_environment = os.environ.get("WANDB_MODE", "").lower()
    if from_environment in ("disabled", "offline", "dryrun"):
        return from_environment.replace("dryrun", "offline")
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlparse(_address()).hostname or "") is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def _address() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[0].split()).rstrip(".") or type(error).__name__
