"""What is a user's mistake is one sentence; what is a bug keeps its traceback."""

import errno

import pytest
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fieldforge.errors import UserError
from fieldforge.runs.mistakes import explain, of_the_system


def raised(body) -> BaseException:
    try:
        body()
    except Exception as error:
        return error
    raise AssertionError("nothing is raised")


def test_a_mistake_is_found_under_what_it_caused():
    def body():
        try:
            raise UserError("the folder is empty:\n  give another")
        except UserError as error:
            raise RuntimeError("in a loop of a library") from error

    assert explain(raised(body)) == "the folder is empty: give another"


def test_a_mistake_in_a_data_worker_is_without_its_traceback():
    text = "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File …\n"
    assert explain(UserError(f"{text}fieldforge.errors.UserError: shard 3 is damaged")) == "shard 3 is damaged"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_file(number):
    assert explain(OSError(number, "full", "/data/a.tar")).startswith("there is no room for /data/a.tar (full)")


@pytest.mark.parametrize("error", [ValueError("x"), OSError(errno.EACCES, "no"), RuntimeError("shape mismatch")])
def test_other_errors_are_bugs(error):
    assert explain(error) is None


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OverrideParseException("a b", "?"), "cannot read the override 'a b'"),
        (
            MissingConfigException("Could not find 'sampler/x'\n\nAvailable options in 'sampler':\n\ta\n\tb"),
            "there is no sampler=x: choose one of a, b",
        ),
        (MissingConfigException("Could not find 'elsewhere'"), "there is no config elsewhere"),
    ],
)
def test_what_hydra_raises_is_told_by_what_was_typed(error, sentence):
    assert explain(error).startswith(sentence)


def test_a_value_that_is_missing_is_named_by_its_key():
    error = raised(lambda: OmegaConf.create({"data": {"root": "???"}}).data.root)
    assert isinstance(error, OmegaConfBaseException)
    assert explain(error) == "the config key data.root has no value: give it on the command line, data.root=…"


def test_a_place_that_the_system_refuses_hydra_is_told_by_the_key(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "hydra.run.dir=/root/x", "n=1"])
    assert "correct hydra.run.dir=/root/x" in of_the_system(PermissionError(errno.EACCES, "denied", "/root/x"))
    assert of_the_system(OSError(errno.EIO, "broken")) is None
