"""Models of a hub where a run is taken: `run=hub:<owner>/<name>` and `run=hub:<owner>/<name>@<revision>`.

What comes from a hub is data: weights as safetensors, text and JSON. Other files of a repository are not fetched.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from functools import cache
from pathlib import Path

from fieldforge.conditioning.hub import brief, reach_hub
from fieldforge.errors import UserError
from fieldforge.training.processes.published import INNER, SUFFIX

log = logging.getLogger(__name__)
WORD = "hub:"
LIBRARY = "fieldforge"
CONFIG = "config.json"
WEIGHTS = (f"model{SUFFIX}", f"{INNER}{SUFFIX}")
NAME = re.compile(r"(?!.*\.\.)hub:(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[\w-][\w./-]*))?")
LARGEST_CONFIG = 10**7  # bytes


def is_of_hub(word: str) -> bool:
    """Whether a value of `run=` names a model of a hub."""
    return word.startswith(WORD)


@cache
def hub_file(word: str, key: str) -> Path:
    """The weights' file of `hub:<owner>/<name>@<revision>` in the hub's cache; fetched where it is not there.

    A command asks the hub once; without an answer, the cache's copy is used. `HF_ENDPOINT` names another hub than the
    library's own, `HF_HUB_CACHE` the folder.

    Args:
        word: without a revision: the newest.
        key: configuration key of the value.

    Raises:
        UserError: no such repository or revision, no network, or a repository of something else.
    """
    match = NAME.fullmatch(word)
    if match is None:
        raise UserError(f"{key}={word}: write {WORD}<owner>/<name>, with @<revision> for a certain one")
    name, revision = match["name"], match["revision"]
    folder = _fetched(name, revision, (CONFIG,), f"{key}={word}")
    _check_library(folder / CONFIG, f"{key}={word}")
    # A moving revision was resolved to the commit that the folder is called after: both are of one.
    file = _fetched(name, folder.name, WEIGHTS, f"{key}={word}") / WEIGHTS[0]
    if not file.is_file():
        raise UserError(f"{key}={word}: that repository holds no {file.name}: give one that export.py format=card made")
    return file


def hub_name(path: Path) -> str | None:
    """`<owner>--<name>` of a file in the hub's cache; None of other files."""
    commit = path.parent
    repository = commit.parent.parent.name
    is_cached = commit.parent.name == "snapshots" and repository.startswith("models--")
    return repository.removeprefix("models--") if is_cached else None


def _fetched(name: str, revision: str | None, files: tuple[str, ...], given: str) -> Path:
    """Folder of a repository in the hub's cache that has those of the files that the repository has."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        alone = not _answers()
        place = snapshot_download(name, revision=revision, allow_patterns=list(files), local_files_only=alone)
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{given}: {constants.ENDPOINT} has no model of that name that you may read: correct the name, or log in "
            f"with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"{given}: that model has no revision {revision}: give another, or leave it out") from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{given}: {constants.ENDPOINT} does not answer, and its cache has no such model: on a machine with a "
            f"network run `hf download {name}`, and give the folder that it prints, copied to here"
        ) from error
    except Exception as error:  # of the network, the hub and the disk: a dozen kinds
        raise UserError(f"{given} cannot be fetched from {constants.ENDPOINT} ({brief(error)}): try again") from error
    return Path(place)


def _answers() -> bool:
    try:
        reach_hub()
    except OSError:
        return False
    return True


def _check_library(path: Path, given: str) -> None:
    """UserError unless `config.json` says that the repository is one of this library."""
    whose = None
    if path.is_file() and path.stat().st_size < LARGEST_CONFIG:
        try:
            content = json.loads(path.read_bytes())
            whose = content.get("library_name") if isinstance(content, dict) else None
        except (ValueError, RecursionError):
            log.debug("%s is no JSON", path)
    if whose != LIBRARY:
        raise UserError(
            f"{given}: that repository holds no model of {LIBRARY} (its {CONFIG} does not say so): give one that "
            f"export.py format=card made"
        )
