"""Shards in object storage and behind web servers: s3://, gs://, https://. Needs the extra `cloud`."""

import os
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fieldforge.errors import UserError, install_command

SCHEMES = ("s3://", "gs://", "https://", "http://")
REQUEST_BYTES = 32 << 20  # of one request at most, so that a request's time limit means something
PARALLEL_READS = 16
METADATA_SERVICE = "169.254.169.254"  # where virtual machines in a cloud find their own credentials


def is_remote(place: object) -> bool:
    return str(place).startswith(SCHEMES)


@dataclass(frozen=True)
class Patience:
    """How long to bear with a network: attempts in a row without a single new byte, and the waits between them."""

    attempts: int = 8
    first_wait: float = 0.2
    longest_wait: float = 20.0
    request_seconds: float = 60.0

    def wait(self, failures: int) -> None:
        """Exponential backoff with jitter, so that a thousand ranks do not come back in the same instant."""
        time.sleep(random.uniform(0.5, 1.0) * min(self.longest_wait, self.first_wait * 2 ** (failures - 1)))


class ObjectStore:
    """A folder in object storage; credentials and endpoints come from the usual environment variables.

    A read that breaks off goes on at the byte where it stopped, after a pause; an object that was replaced meanwhile is
    noticed by its entity tag. UserError, naming the object, once `patience` is at its end or access is denied.
    """

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.url = url.rstrip("/")
        self.patience = patience or Patience()
        self._process = os.getpid()
        self._store: Any = None
        self._pool: ThreadPoolExecutor | None = None
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
            client: dict[str, Any] = {"timeout": timedelta(seconds=self.patience.request_seconds)}
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

    def size(self, name: str) -> int:
        import obstore

        store = self._connect()
        return int(self._patiently(name, lambda: obstore.head(store, name))["size"])

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        self._connect()
        stop = self.size(name) if stop is None else stop
        coming = self._coming.pop((name, start, stop), None)
        return coming.result() if coming else self._fetch(name, start, stop)

    def read_ahead(self, name: str, start: int, stop: int) -> None:
        self._connect()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(PARALLEL_READS, thread_name_prefix="read-ahead")
        if (name, start, stop) not in self._coming:
            self._coming[name, start, stop] = self._pool.submit(self._fetch, name, start, stop)

    def download(self, name: str, write: Any) -> None:
        """Passes the whole object to `write`, piece by piece, each byte once."""
        self._connect()
        size = self.size(name)
        for start in range(0, size, REQUEST_BYTES):
            write(self._fetch(name, start, min(size, start + REQUEST_BYTES)))

    def _fetch(self, name: str, start: int, stop: int) -> bytes:
        import obstore

        store = self._connect()
        got = bytearray()
        tag: str | None = None
        failures = 0
        while len(got) < stop - start:
            begin = start + len(got)
            options: dict[str, Any] = {"range": (begin, min(stop, begin + REQUEST_BYTES))}
            if tag:
                options["if_match"] = tag
            before = len(got)
            try:
                answer = obstore.get(store, name, options=options)  # type: ignore[arg-type]
                tag = answer.meta["e_tag"]
                for piece in answer.stream(min_chunk_size=1 << 20):
                    got += memoryview(piece)
                problem: Exception = ConnectionError("the transfer ended early")
            except Exception as error:  # told apart in _give_up_on
                problem = error
            if len(got) - before < min(stop, begin + REQUEST_BYTES) - begin:
                failures = 1 if len(got) > before else failures + 1
                self._give_up_on(name, problem, failures)
        return bytes(got)

    def _patiently(self, name: str, request: Any) -> Any:
        failures = 0
        while True:
            try:
                return request()
            except Exception as error:  # told apart in _give_up_on
                failures += 1
                self._give_up_on(name, error, failures)

    def _give_up_on(self, name: str, error: Exception, failures: int) -> None:
        """Waits if another attempt makes sense, else raises."""
        from obstore import exceptions

        where = f"{self.url}/{name}"
        if isinstance(error, FileNotFoundError | exceptions.NotFoundError):
            raise FileNotFoundError(where) from error
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            raise UserError(f"{where}: access was denied; check the credentials in the environment.") from error
        if isinstance(error, exceptions.NotSupportedError):
            raise UserError(
                f"{where}: the server does not send parts of files (HTTP range requests); copy the shards to one that "
                "does, or to a local folder."
            ) from error
        if isinstance(error, exceptions.PreconditionError):
            raise UserError(f"{where}: was replaced while it was being read; let writers finish first.") from error
        if not isinstance(error, exceptions.BaseError | OSError):
            raise error
        if failures >= self.patience.attempts:
            if METADATA_SERVICE in str(error):  # the last place where credentials are looked for
                raise UserError(
                    f"{where}: no credentials were found; set those of {self.url.partition(':')[0]}:// in the "
                    "environment (docs/data_format.md)."
                ) from error
            raise UserError(
                f"{where}: could not be read in {failures} attempts ({_reason(error)}); check the network."
            ) from error
        self.patience.wait(failures)

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "patience": self.patience}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _reason(error: Exception) -> str:
    return " ".join(str(error).partition("Debug source")[0].split())[:200]


def _profile(url: str) -> dict[str, Any]:
    """Credentials out of AWS's files, which obstore leaves to boto3; nothing where the environment holds a key."""
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
