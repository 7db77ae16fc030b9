"""An S3 server on loopback, which this process and those that it starts find in their environment."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver

import boto3
import pytest
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "someone",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """Host and port of an empty server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # one of earlier tests has another environment
        yield host, port
        moto.stop()


def create_bucket(name: str, access: str = "public-read") -> None:
    boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).create_bucket(Bucket=name, ACL=access)
