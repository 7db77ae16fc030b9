"""Initial weights of a stage out of another finished model, in place of random ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor, nn

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.conditioning.class_label import ClassSource
from fieldforge.conditioning.conditioner import Conditioner
from fieldforge.configuration.stored_config import Labelled, holds, load_run
from fieldforge.errors import UserError, the_first
from fieldforge.stages.directory import MODEL, StageDirectory, model_in
from fieldforge.stages.pretrained import place_of
from fieldforge.training.modules.diffusion_module import DiffusionModule
from fieldforge.training.processes.checkpoints import load_safely

log = logging.getLogger(__name__)
SHOWN = 12  # classes of which a line gives the names


@dataclass(frozen=True)
class InitialWeights:
    """The model that a stage starts from: its file and its fingerprint; `kind` of the stage that made it."""

    path: Path
    fingerprint: str
    kind: type[Labelled]

    @staticmethod
    def of(config: DictConfig, kind: type[Labelled]) -> InitialWeights | None:
        """The model of `init_from`, if it has this kind, or contains such a model and is itself of no stage here.

        Raises:
            UserError: there is no finished model.
        """
        path = start_file(config)
        if path is None:
            return None
        label = load_safely(path, mmap=True)["fieldforge"]
        if label.get("stage") == kind.kind:
            return InitialWeights(path, str(label.get("fingerprint")), kind)
        if holds(label, kind) and label.get("stage") not in kinds_of_steps(config):
            return InitialWeights(path, str(label[kind.inside].get("fingerprint")), kind)
        return None

    @staticmethod
    def of_run(directory: StageDirectory, kind: type[Labelled]) -> InitialWeights:
        """The finished model of an earlier stage."""
        return InitialWeights(directory.model, directory.fingerprint, kind)

    @property
    def label(self) -> dict:
        """The label of the model's file."""
        return load_run(self.path, self.kind)[1]

    def load(self, model: nn.Module) -> None:
        """Load the weights into a model, class vectors by their names, and say in the log what becomes of the classes.

        UserError unless all other weights match.
        """
        weights, label, read = self._fitting(model)
        for name, source in _class_sources(model, label).items():
            theirs = label["encoders"][name]["classes"]
            log.info("starts at the weights of %s; of its classes %s", self.path.parent, fate(theirs, source.classes))
        if new := sorted(_sources(weights) - read):
            log.info("starts at the weights of %s, which did not read %s", self.path.parent, ", ".join(new))
        model.load_state_dict({**weights, **_class_vectors(model, weights, label)})

    def check(self, model: nn.Module) -> None:
        """UserError unless the weights match a model in names and shapes."""
        self._fitting(model)

    def is_whole(self, model: nn.Module) -> bool:
        """Whether the file has all weights of the model, not only a part."""
        return load_run(self.path, self.kind)[0].keys() == model.state_dict().keys()

    def has_part(self, prefix: str) -> bool:
        """Whether the file has weights whose names begin so."""
        return any(name.startswith(prefix) for name in load_run(self.path, self.kind)[0])

    def _fitting(self, model: nn.Module) -> tuple[Mapping[str, Tensor], Mapping[str, Any], set[str]]:
        """The initial weights of a model, their label, and the sources of the condition that the file has weights of.

        UserError unless they match the model in names and shapes, except for the number of classes.
        """
        (theirs, label), mine = load_run(self.path, self.kind), model.state_dict()
        read = _sources(theirs)
        if isinstance(model, Autoencoder | DiffusionModule):
            theirs = model.initial_weights(theirs)
        strange = sorted(theirs.keys() ^ mine.keys())
        shapes = {name: (theirs[name].shape, mine[name].shape) for name in theirs.keys() & mine.keys()}
        for name in set(map(_class_weight, _class_sources(model, label))) & shapes.keys():
            shapes[name] = (shapes[name][0][:1], shapes[name][1][:1])
        strange += sorted(name for name, (source, own) in shapes.items() if source != own)
        if strange:
            names = the_first(strange, 3)
            raise UserError(
                f"init_from={self.path.parent}: its weights are not those of this model, {names} differ: give a model "
                f"of the same design, or leave init_from= out"
            )
        return theirs, label, read


def _sources(weights: Mapping[str, Tensor]) -> set[str]:
    """Names of the condition's sources that weights are of."""
    return {name.split(".")[2] for name in weights if name.startswith("conditioner.sources.")}


def _class_sources(model: nn.Module, label: Mapping[str, Any]) -> dict[str, ClassSource]:
    """The class sources of a model that the model of the label has too, by their names among the sources."""
    conditioner = getattr(model, "conditioner", None)
    sources = conditioner.sources.items() if isinstance(conditioner, Conditioner) else ()
    known = label.get("encoders", {})
    return {name: source for name, source in sources if isinstance(source, ClassSource) and name in known}


def _class_weight(source: str) -> str:
    """The name of a class source's weight (W, K)."""
    return f"conditioner.sources.{source}.vector_projection.weight"


def _class_vectors(model: nn.Module, weights: Mapping[str, Tensor], label: Mapping[str, Any]) -> dict[str, Tensor]:
    """Class weights for a model out of another model's, which may have other classes or another order."""
    vectors = {}
    for name, source in _class_sources(model, label).items():
        weight, null = weights[_class_weight(name)], weights.get(f"conditioner.sources.{name}.null_vector")
        vectors[_class_weight(name)] = source.vectors_by_name(weight, null, label["encoders"][name]["classes"])
    return vectors


def fate(theirs: Sequence[str], mine: Sequence[str]) -> str:
    """Which classes of a model a training goes on with, which it leaves out, and which it adds, in words."""
    kinds = {
        "kept": [name for name in mine if name in theirs],
        "forgotten": [name for name in theirs if name not in mine],
        "new": [name for name in mine if name not in theirs],
    }
    return "; ".join(
        f"{len(names)} {kind} ({the_first(names, SHOWN)})" if names else f"none {kind}" for kind, names in kinds.items()
    )


def start_file(config: DictConfig) -> Path | None:
    """The file of the model that `init_from` names, None without one. UserError where there is no finished model."""
    if config.get("init_from") is None:
        return None
    place = place_of(str(config.init_from), "init_from")
    path = model_in(place)
    if not path.is_file():
        raise UserError(f"init_from={place} has no finished {MODEL}: give the directory of a finished run")
    return path


def kinds_of_steps(config: DictConfig) -> set[str]:
    """Kinds of the stages of a training: a phase is of the kind that it names."""
    phases: Mapping[str, Any] = config.get("phases") or {}
    return {str(phases[name].get("of")) if name in phases else str(name) for name in config.stages}


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose names match a pattern (`encoder.*`). UserError for a pattern without a match."""
    for pattern in patterns:
        frozen = [parameter for name, parameter in model.named_parameters() if fnmatch(name, pattern)]
        if not frozen:
            parts = ", ".join(name for name, _ in model.named_children())
            raise UserError(f"frozen={pattern}: no parameter has such a name, the model's parts are {parts}")
        for parameter in frozen:
            parameter.requires_grad_(False)
