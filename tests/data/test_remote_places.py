"""https:// and gs:// through a breaking network; one sentence for whatever makes a remote place unreadable."""

import datetime
import ipaddress
import json
import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.data.faults import FaultyProxy, FileServer
from tests.data.make import write_latents

from fieldforge.data.order import Mixing
from fieldforge.data.shards import open_shards
from fieldforge.data.stream import SampleStream
from fieldforge.data.transforms import Latent, Meta
from fieldforge.errors import Unfinished, UserError
from fieldforge.storage import calls, cloud
from fieldforge.storage.cloud import METADATA_SERVICE, ObjectStore, Patience
from fieldforge.storage.store import Store

QUICK = Patience(first_wait=0.001, longest_wait=0.01, request_seconds=0.5)
HASTY = Patience(request_seconds=2, minutes=0)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_latents(folder, 24, 8)
    return folder


@pytest.fixture(scope="module")
def server(local: Path) -> Iterator[FileServer]:
    server = FileServer(local)
    yield server
    server.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate of 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return path


def seen(root: str | Path, store: Store | None = None) -> list[tuple[str, list]]:
    """Keys and latents of two epochs."""
    shards = open_shards(root, "train", store=store)
    stream = SampleStream(shards, [Latent(), Meta()], seed=0, batch_size=4, mixing=Mixing())
    batches = list(islice(stream, 12))
    return [(meta["id"], latent.tolist()) for b in batches for meta, latent in zip(b["meta"], b["latent"], strict=True)]


def test_https_through_faults(
    local: Path, server: FileServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    proxy = FaultyProxy(*server.address, rate=0.5, tls=tls)
    place = f"{proxy.url}/some/shards"
    try:
        assert place.startswith("https://")
        assert seen(place, ObjectStore(place, QUICK)) == seen(local)
        assert proxy.injected.total() >= 30
    finally:
        proxy.close()


def test_google_storage_through_faults(
    local: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultyProxy(*server.address, rate=0.5)
    account = {"gcs_base_url": proxy.url, "disable_oauth": True, "client_email": "", "private_key": ""}
    (tmp_path / "account.json").write_text(json.dumps({**account, "private_key_id": ""}))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    try:
        assert seen("gs://bucket/shards", ObjectStore("gs://bucket/shards", QUICK)) == seen(local)
        assert proxy.injected.total() >= 30
    finally:
        proxy.close()


def sentence(url: str) -> str:
    with pytest.raises(UserError) as error:
        open_shards(url, "train", store=ObjectStore(url, HASTY))
    text = str(error.value)
    assert text.startswith(url)
    assert "\n" not in text
    assert len(text) < 400
    return text


def test_unreachable_endpoints_end_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    for url in ("https://127.0.0.1:9/shards", "s3://bucket/shards"):
        assert "manifest.json: could not be read in 1 attempt (Connection refused)" in sentence(url)


def test_wrong_google_credentials_end_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    assert "nowhere.json: No such file" in sentence("gs://bucket/shards")
    (tmp_path / "nowhere.json").write_text("{}")
    assert "service account" in sentence("gs://bucket/shards")


@pytest.mark.parametrize("url", ["s3://bucket/shards", "gs://bucket/shards"])
def test_no_credentials_at_all_end_in_one_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last resort is the metadata service of a cloud's machines, which is not there."""
    store = ObjectStore(url, HASTY)
    with pytest.raises(UserError, match=rf"{url}/a\.tar: no credentials were found; set those of {url[:2]}://"):
        store._give_up_on("a.tar", ConnectionError(f"PUT http://{METADATA_SERVICE}/latest: timed out"), 2, 0.0, HASTY)


def test_credentials_of_a_profile(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert "correct AWS_PROFILE=work" in sentence("s3://bucket/shards")
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = me\naws_secret_access_key = secret\n")
    store = ObjectStore("s3://bucket/shards", HASTY)._connect()
    assert store.credential_provider()["access_key_id"] == "me"


def test_a_server_without_ranges_is_named_at_once(local: Path) -> None:
    server = FileServer(local, ranges=False)
    try:
        assert "does not send parts of files" in sentence(f"http://127.0.0.1:{server.address[1]}/shards")
    finally:
        server.close()


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("s3:/bucket/shards", "write s3://bucket/shards"),
        ("s3:bucket/shards", "write s3://bucket/shards"),
        ("S3://bucket/shards", "write s3://bucket/shards"),
        ("gs:/x", "write gs://x"),
        ("HTTPS://host/x", "write https://host/x"),
        ("file:///data/shards", "write the path alone, /data/shards"),
        ("ftp://host/x", "one of s3://, gs://, https://, http://"),
        ("hdfs://host/x", "one of s3://"),
    ],
)
def test_mistyped_addresses_are_named(place: str, meant: str) -> None:
    with pytest.raises(UserError) as error:
        open_shards(place, "train")
    assert f"data.root={place}: is no address" in str(error.value)
    assert meant in str(error.value)


def test_a_store_that_stays_away_is_waited_for_aloud_and_ends_unfinished(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cloud, "SAY_SECONDS", 0.05)
    patience = Patience(minutes=0.4 / 60, first_wait=0.01, longest_wait=0.05, request_seconds=1)
    with caplog.at_level(logging.WARNING), pytest.raises(Unfinished, match="run the same command again") as error:
        open_shards("http://127.0.0.1:9/shards", "train", patience=patience)
    assert error.value.exit_code == 85
    assert 2 <= len([text for text in caplog.messages if text.startswith("waiting for http://127.0.0.1:9/")]) <= 10


def test_a_server_that_never_answers_is_waited_for_aloud(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calls, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(cloud, "SAY_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING):
        place = f"http://127.0.0.1:{silent.getsockname()[1]}/shards"
        with pytest.raises(Unfinished, match="in 1 attempt"):  # although a request might take a minute
            open_shards(place, "train", patience=Patience(minutes=2 / 60))
    waits = [text for text in caplog.messages if text.startswith(f"waiting for {place}/manifest.json: the server has")]
    assert 2 <= len(waits) <= 20


AHEAD = """if True:
    import sys
    from fieldforge.storage.cloud import ObjectStore
    store = ObjectStore(sys.argv[1])
    for number in range(40):
        store.read_ahead("a.tar", number, number + 1)
"""


@pytest.mark.parametrize("accepts", [False, True])
def test_nobody_waits_at_the_end_for_what_is_read_ahead(accepts: bool) -> None:
    """Less than the time limit of one request, which is a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if accepts else 9
        subprocess.run([sys.executable, "-c", AHEAD, f"http://127.0.0.1:{port}/shards"], check=True, timeout=30)


def test_what_was_read_ahead_in_vain_is_read_again(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "AHEAD_SECONDS", 0.0)
    server = FileServer(local)
    proxy = FaultyProxy(*server.address, rate=1.0)
    store = ObjectStore(f"{proxy.url}/shards", Patience(first_wait=0.001, longest_wait=0.01, request_seconds=1))
    try:
        store.read_ahead("manifest.json", 0, 10)
        [ahead] = store._coming.values()
        assert isinstance(ahead.exception(), Unfinished)
        proxy.rate = 0.0
        assert store.read("manifest.json", 0, 10) == (local / "manifest.json").read_bytes()[:10]
    finally:
        proxy.close()
        server.close()


STOPPED = """if True:
    import os, signal, sys, threading
    from fieldforge.data.shards import open_shards
    from fieldforge.errors import Unfinished
    from fieldforge.training.processes import interruption
    interruption.install()
    interruption.hold_ctrl_c()
    interruption.LONGEST_WAIT = 0.2
    threading.Timer(1, os.kill, (os.getpid(), getattr(signal, sys.argv[1]))).start()
    try:
        open_shards(sys.argv[2], "train")
    except (Unfinished, KeyboardInterrupt) as error:
        print(type(error).__name__, error)
"""


@pytest.mark.parametrize(("number", "end"), [("SIGTERM", "Unfinished stopped by SIGTERM"), ("SIGINT", "Keyboard")])
@pytest.mark.parametrize("accepts", [False, True])
def test_a_signal_ends_a_wait(number: str, end: str, accepts: bool) -> None:
    """For a server that refuses, and for one that accepts and never answers: its request's time limit is a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if accepts else 9
        command = [sys.executable, "-c", STOPPED, number, f"http://127.0.0.1:{port}/shards"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith(end), done.stderr
