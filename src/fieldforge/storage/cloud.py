"""Shards in object storage and behind web servers: s3://, gs://, https://. Needs the extra `cloud`."""

import logging
import os
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fieldforge.errors import Unfinished, UserError, install_command
from fieldforge.ranges import NotNegative
from fieldforge.storage import waiting
from fieldforge.storage.calls import DaemonPool, interruptible, watched

log = logging.getLogger(__name__)
SCHEMES = ("s3://", "gs://", "https://", "http://")
REQUEST_BYTES = 32 << 20  # of one request at most, so that a request's time limit means something
PARALLEL_READS = 16
SAY_SECONDS = 3.0
AHEAD_SECONDS = 2.0  # of patience for what is only read ahead: `read` has more, and reports
CREDENTIAL_ATTEMPTS = 8
METADATA_SERVICE = "169.254.169.254"  # where virtual machines in a cloud find their own credentials


def check_address(place: str) -> None:
    """UserError for an address of an unknown kind, or a mistyped one; paths pass."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/*", place)
    if scheme is None or is_remote(place) or os.path.exists(place):
        return
    url = f"{scheme[1].lower()}://{place[scheme.end() :]}"
    advice = (
        f"write {url}"
        if is_remote(url)
        else f"write the path alone, /{place[scheme.end() :]}"
        if scheme[1].lower() == "file"
        else f"give a folder, or one of {', '.join(SCHEMES)}"
    )
    raise UserError(f"data.root={place}: is no address that can be read; {advice}.")


def is_remote(place: object) -> bool:
    return str(place).startswith(SCHEMES)


@dataclass(frozen=True)
class Patience:
    """Time limits for a network without new bytes, and the waits between attempts.

    Args:
        first_wait, longest_wait: seconds.
        request_seconds: time limit of one request; at most `minutes`.
        minutes: time limit after which the run ends; the same command continues it.
    """

    first_wait: float = 0.2
    longest_wait: float = 3.0
    request_seconds: float = 60.0
    minutes: NotNegative = 5.0

    def ends(self, since: float) -> bool:
        """Whether patience has ended, given the first failed attempt at `since` (`time.monotonic`)."""
        return time.monotonic() - since >= 60 * self.minutes

    def wait(self, failures: int) -> None:
        """Exponential backoff with jitter, so that a thousand ranks do not retry at the same instant."""
        longest = min(self.longest_wait, self.first_wait * 2 ** min(failures - 1, 30))
        time.sleep(random.uniform(0.5, 1.0) * longest)

    @property
    def longest_request(self) -> float:
        """The time limit of one request in seconds."""
        return min(self.request_seconds, 60 * self.minutes or self.request_seconds)

    @property
    def ahead(self) -> "Patience":
        """The patience of a prefetching thread."""
        return replace(self, minutes=min(self.minutes, AHEAD_SECONDS / 60))


class ObjectStore:
    """A folder in object storage; credentials and endpoints come from the usual environment variables.

    An interrupted read resumes at the byte where it stopped, after a pause; the entity tag reveals an object that was
    replaced in between. Errors name the object: Unfinished at the end of `patience`, UserError at once where access is
    denied.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.url = url.rstrip("/")
        self.patience = patience or Patience()
        self._process = os.getpid()
        self._store: Any = None
        self._last_report = 0.0
        self._pool: DaemonPool | None = None
        self._coming: dict[tuple[str, int, int], Future[bytes]] = {}

    def _connect(self) -> Any:
        # The library's threads do not live on in a forked process: a read there would wait for ever.
        assert self._process == os.getpid(), "object stores do not survive a fork: start workers with forkserver"
        if self._store is None:
            try:
                import obstore.store
                from obstore import exceptions
            except ImportError as error:
                raise UserError(f"{self.url}: object storage needs obstore; {install_command('cloud')}.") from error
            client: dict[str, Any] = {"timeout": timedelta(seconds=self.patience.longest_request)}
            if self.url.startswith("http://") or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"):
                client["allow_http"] = True
            # Retries are ours alone: the library would start a broken transfer over, or give up in its midst.
            options = {"client_options": client, "retry_config": {"max_retries": 0}, **_profile(self.url)}
            try:
                self._store = obstore.store.from_url(self.url, **options)
            except (exceptions.BaseError, ValueError) as error:
                raise UserError(
                    f"{self.url}: {_reason(error)}; correct the address, or the credentials in the environment."
                ) from error
        return self._store

    def size(self, name: str, patience: Patience | None = None) -> int:
        import obstore

        store = self._connect()
        return int(self._patiently(name, lambda: obstore.head(store, name), patience or self.patience)["size"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        self._connect()
        stop = self.size(name) if stop is None else stop
        coming = self._coming.pop((name, start, stop), None)
        if coming:
            with suppress(Unfinished), waiting.for_data():
                return watched(coming, partial(self._say_silent, name))
        return self._fetch(name, start, stop, self.patience)

    def read_ahead(self, name: str, start: int, stop: int) -> None:
        self._connect()
        if self._pool is None:
            self._pool = DaemonPool(PARALLEL_READS, "read-ahead")
        if (name, start, stop) not in self._coming:
            self._coming[name, start, stop] = self._pool.submit(
                partial(self._fetch, name, start, stop, self.patience.ahead)
            )

    def download(self, name: str, write: Any, ahead: bool = False) -> None:
        """Passes the whole object to `write`, piece by piece, each byte once; a prefetch (`ahead`) is less patient."""
        self._connect()
        patience = self.patience.ahead if ahead else self.patience
        size = self.size(name, patience)
        for start in range(0, size, REQUEST_BYTES):
            write(self._fetch(name, start, min(size, start + REQUEST_BYTES), patience))

    def _fetch(self, name: str, start: int, stop: int, patience: Patience) -> bytes:
        import obstore

        store = self._connect()
        content = bytearray()
        tag: str | None = None
        look = partial(self._say_silent, name)
        failures, since = 0, time.monotonic()
        while len(content) < stop - start:
            begin = start + len(content)
            options: dict[str, Any] = {"range": (begin, min(stop, begin + REQUEST_BYTES))}
            if tag:
                options["if_match"] = tag
            before = len(content)
            get = partial(obstore.get, store, name, options=options)  # type: ignore[arg-type]
            try:
                answer = interruptible(get, look, since if failures else None)
                tag = answer.meta["e_tag"]
                pieces: Iterator[Any] = iter(answer.stream(min_chunk_size=1 << 20))
                while (piece := interruptible(partial(next, pieces, None), look)) is not None:
                    content += memoryview(piece)
                problem: Exception = ConnectionError("the transfer ended early")
            except Exception as error:  # told apart in _give_up_on
                problem = error
            if len(content) > before:
                failures, since = 0, time.monotonic()
            if len(content) - before < min(stop, begin + REQUEST_BYTES) - begin:
                failures += 1
                self._give_up_on(name, problem, failures, since, patience)
        return bytes(content)

    def _patiently(self, name: str, request: Any, patience: Patience, done: str = "read") -> Any:
        failures, since = 0, time.monotonic()
        while True:
            try:
                return interruptible(request, partial(self._say_silent, name), since if failures else None)
            except Exception as error:  # told apart in _give_up_on
                failures += 1
                self._give_up_on(name, error, failures, since, patience, done)

    def _give_up_on(
        self, name: str, error: Exception, failures: int, since: float, patience: Patience, done: str = "read"
    ) -> None:
        """Waits for the next attempt and reports it every few seconds, or raises."""
        from obstore import exceptions

        where = f"{self.url}/{name}"
        if isinstance(error, FileNotFoundError | exceptions.NotFoundError):
            raise FileNotFoundError(where) from error
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            raise UserError(f"{where}: access was denied; check the credentials in the environment.") from error
        if isinstance(error, exceptions.NotSupportedError):
            advice = "copy the shards to one that does, or to a local folder."
            raise UserError(f"{where}: the server does not send parts of files (HTTP ranges); {advice}") from error
        if isinstance(error, exceptions.PreconditionError):
            raise UserError(f"{where}: was replaced while it was being read; let writers finish first.") from error
        if not isinstance(error, exceptions.BaseError | OSError):
            raise error
        ends = patience.ends(since)
        if METADATA_SERVICE in str(error) and (ends or failures >= CREDENTIAL_ATTEMPTS):
            # The last place where credentials are looked for.
            raise UserError(
                f"{where}: no credentials were found; set those of {self.url.partition(':')[0]}:// in the "
                "environment (docs/data_format.md)."
            ) from error
        if ends:
            raise Unfinished(
                f"{where}: could not be {done} in {failures} attempt{'s' * (failures > 1)} ({_reason(error)}); check "
                "the network, then run the same command again: it goes on."
            ) from error
        now = time.monotonic()
        if now - max(self._last_report, since) >= SAY_SECONDS:
            self._last_report = now
            log.warning(
                "waiting for %s: %d attempts in %.0f s have failed (%s); it is tried for %g minutes",
                where, failures, now - since, _reason(error)[:100], patience.minutes,
            )  # fmt: skip
        with waiting.for_data(since):
            patience.wait(failures)

    def _say_silent(self, name: str, seconds: float) -> None:
        """Reports an open request every few seconds: a server may accept it and never answer."""
        if min(seconds, time.monotonic() - self._last_report) < SAY_SECONDS:
            return
        self._last_report = time.monotonic()
        log.warning(
            "waiting for %s/%s: the server has sent nothing, or little, for %.0f s; a request may take %.0f s",
            self.url, name, seconds, self.patience.longest_request,
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "patience": self.patience}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _reason(error: Exception) -> str:
    """The system's error message, without the address; the library has it only in the error's details."""
    text, _, details = str(error).partition("Debug source")
    words = re.findall(r'\b(?:message|error): "([^"]+)"', details) if "error sending request" in text else []
    text = words[-1] if words else re.sub(r"^.*?Error performing \S+ \S+ in \S+ - ", "", " ".join(text.split()))
    return text[:200]


def _profile(url: str) -> dict[str, Any]:
    """Credentials from AWS's files, which obstore leaves to boto3; empty where the environment holds a key."""
    profile = os.environ.get("AWS_PROFILE")
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if not url.startswith("s3://") or "AWS_ACCESS_KEY_ID" in os.environ or not (profile or file.is_file()):
        return {}
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise UserError(
            f"{url}: reading credentials from {file} needs boto3; pip install boto3, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        ) from error
    try:
        return {"credential_provider": Boto3CredentialProvider(boto3.Session())}
    except (BotoCoreError, ValueError) as error:
        raise UserError(f"{url}: {_reason(error)}; correct AWS_PROFILE={profile} or {file}.") from error
