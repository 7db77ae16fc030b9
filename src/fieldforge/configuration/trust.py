"""Trusted packages: those outside this project whose classes a stored configuration may name.

A checkpoint of a plug-in names classes of that plug-in. `train.py` trusts the modules in its own configuration, which
the user composed. `sample.py` and `evaluate.py` trust the packages of the key `trust`.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from fieldforge.errors import UserError

BLOCKS = ("autoencoder", "backbone", "classifier", "conditioner", "data", "domain", "guidance", "latent_data")
"""Blocks of a stored configuration that are built, and that may name parts of plug-ins."""
NEVER = frozenset({"fieldforge", "hydra", "numpy", "omegaconf", "pytorch_lightning", "torch", *sys.stdlib_module_names})
"""Packages whose functions could run arbitrary code; they are never trusted."""
_packages: ContextVar[frozenset[str]] = ContextVar("packages", default=frozenset())


@contextmanager
def trusting(packages: Collection[str]) -> Iterator[None]:
    """Inside this context stored configurations may name classes of these packages and modules."""
    token = _packages.set(_packages.get() | frozenset(packages))
    try:
        yield
    finally:
        _packages.reset(token)


def is_trusted(home: str) -> bool:
    """Whether `home`, a path `module.Class`, lies in a trusted package."""
    return any(home.startswith(f"{package}.") for package in _packages.get())


def trusted_by(config: DictConfig) -> frozenset[str]:
    """The trusted packages of a command: those of its key `trust`, or without this key the modules in its `BLOCKS`.

    Raises:
        UserError: `trust` is no name of a package, or a package of `NEVER`.
    """
    if "trust" not in config:
        return frozenset(_modules([config.get(block) for block in BLOCKS if not OmegaConf.is_missing(config, block)]))
    names = list(config.trust) if isinstance(config.trust, ListConfig) else [config.trust]
    for name in names:
        if name is not None and (not isinstance(name, str) or not name.replace(".", "_").isidentifier()):
            raise UserError(f"trust={name} must be the name of a package, such as trust=my_package")
        if name is not None and name.partition(".")[0] in NEVER:
            raise UserError(f"trust={name} would let a checkpoint run anything: give the package of the plug-in")
    return frozenset(name for name in names if name is not None)


def _modules(node: Any) -> Iterator[str]:
    """Modules of all `_target_`s of plug-ins below a node."""
    if isinstance(node, DictConfig):
        target = node.get("_target_")
        if isinstance(target, str) and target.partition(".")[0] not in NEVER:
            yield target.rpartition(".")[0]
        node = [node[key] for key in node if not OmegaConf.is_missing(node, key)]
    if isinstance(node, ListConfig | list):
        for item in node:
            yield from _modules(item)
