"""A run's stored configuration names parts of models and nothing else, wherever sample.py and evaluate.py read it."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tests.security.payload import refused

from fieldforge.configuration.build import build
from fieldforge.runs.entry import CONFIGS
from fieldforge.runs.evaluate import run_evaluation
from fieldforge.runs.sample import run_sampling
from fieldforge.stages.autoencoder_stage import load_autoencoder
from fieldforge.stages.classifier_stage import load_classifier
from fieldforge.stages.diffusion_stage import load_diffusion
from fieldforge.stages.prior_stage import load_prior
from fieldforge.training.processes.checkpoints import FORMAT

SOUND = {"_target_": "fieldforge.noise.processes.Exponential", "rate": 12.0}


def touch(mark: Path) -> dict:
    return {"_target_": "os.system", "_args_": [f"touch {mark}"]}


HOSTILE = {
    "a command": touch,
    "a command, named by keyword": lambda mark: {"_target_": "os.system", "command": f"touch {mark}"},
    "eval": lambda mark: {"_target_": "builtins.eval", "_args_": [f"open({str(mark)!r}, 'w')"]},
    "exec": lambda mark: {"_target_": "builtins.exec", "_args_": [f"open({str(mark)!r}, 'w')"]},
    "a process": lambda mark: {"_target_": "subprocess.Popen", "args": ["touch", str(mark)]},
    "a function by its name": lambda mark: {"_target_": "hydra.utils.get_method", "path": "os.system"},
    "another instantiate": lambda mark: {"_target_": "hydra.utils.instantiate", "config": touch(mark)},
    "left for later": lambda mark: {**touch(mark), "_partial_": True},
    "in an argument": lambda mark: {**SOUND, "rate": touch(mark)},
    "in a list": lambda mark: {**SOUND, "rate": [1, [{"a": touch(mark)}]]},
    "in the positional arguments": lambda mark: {"_target_": SOUND["_target_"], "_args_": [touch(mark)]},
    "an unknown argument": lambda mark: {**SOUND, "more": touch(mark)},
    "not recursive": lambda mark: {**SOUND, "_recursive_": False, "rate": touch(mark)},
    "the builder itself": lambda mark: {
        "_target_": "fieldforge.configuration.build.build",
        "_recursive_": False,
        "_convert_": "none",
        "config": {"part": {"_target_": "fieldforge.configuration.build.functools.partial"}},
        "key": "part",
    },
    "what a module imported": lambda mark: {"_target_": "fieldforge.storage.files.os.mkdir", "_args_": [str(mark)]},
    "a writer of ours": lambda mark: {
        "_target_": "fieldforge.training.processes.checkpoints.save_atomically",
        "content": {},
        "path": str(mark),
    },
    "a class of ours that makes folders": lambda mark: {
        "_target_": "fieldforge.data.writer.ShardWriter",
        "folder": str(mark),
        "schema": None,
        "settings": {},
        "samples_per_shard": 1,
        "split": "train",
    },
    "a method": lambda mark: {"_target_": "fieldforge.data.cache.Cache.wrap", "_args_": [1, 2, 3]},
    "named by a reference": lambda mark: {"_target_": "${evil}", "_args_": [f"touch {mark}"]},
    "named by the environment": lambda mark: {"_target_": "${oc.env:EVIL}", "_args_": [f"touch {mark}"]},
    "decoded from a text": lambda mark: {
        **SOUND,
        "rate": "${oc.decode:'{_target_: os.system, _args_: [\"touch " + str(mark) + "\"]}'}",
    },
    "reads the environment": lambda mark: {**SOUND, "rate": "${oc.env:EVIL}"},
    "a target that is no name": lambda mark: {"_target_": {"_target_": "os.system"}, "_args_": [f"touch {mark}"]},
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("EVIL", "os.system")


@pytest.fixture(scope="module")
def stored() -> dict:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=shape_latent", "conditioner=class", "conditioner.classes=[chair]"])
    return OmegaConf.to_container(config, resolve=True)


def checkpoint(path: Path, stage: str, config: dict, autoencoder: dict | None = None) -> Path:
    label = {"format": FORMAT, "stage": stage, "fingerprint": "f", "config": {**config, "evil": "os.system"}}
    further = {
        "autoencoder": {"config": autoencoder or config, "fingerprint": "f"},
        "autoencoder_state_dict": {},
        "classes": ["chair"],
        "latent_shape": [4, 4],
        "space": {"mean": torch.zeros(4), "std": torch.ones(4)},
        "encoders": {},
    }
    path.mkdir(parents=True)
    weights = {"a": torch.zeros(2**23)}  # a file large enough for what the configuration builds
    torch.save({"fieldforge": {**label, **further}, "state_dict": weights}, path / "model.ckpt")
    return path / "model.ckpt"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_blocks_are_refused(name, mark):
    config = OmegaConf.create({"part": HOSTILE[name](mark), "evil": "os.system"})
    assert "part" in refused(mark, lambda: build(config, "part", trusted=False))


def test_what_the_program_gives_itself_is_not_built_from_the_configuration(mark):
    writer = {"_target_": "fieldforge.training.processes.checkpoints.save_atomically", "content": {}, "path": str(mark)}
    target = "fieldforge.nn.transformer.FeedForward"
    config = OmegaConf.create({"part": {"_target_": target, "width": writer, "expansion": 2.0}})
    for trusted in (False, True):
        assert build(config, "part", trusted=trusted, width=4)[0].in_features == 4
        assert not mark.exists()


def loaders() -> list:
    parts = {
        "autoencoder": [(load_autoencoder, "autoencoder")],
        "diffusion": [
            (load_diffusion, key)
            for key in ("autoencoder", "conditioner", "loss", "backbone", "process", "parameterization")
        ],
        "classifier": [(load_classifier, "classifier"), (load_classifier, "process")],
        "prior": [(load_prior, "conditioner"), (load_prior, "backbone")],
    }
    return [
        pytest.param(stage, load, key, id=f"{load.__name__}-{key}") for stage in parts for load, key in parts[stage]
    ]


@pytest.mark.parametrize("name", ["a command", "left for later", "a writer of ours"])  # the last, Hydra would build
@pytest.mark.parametrize(("stage", "load", "key"), loaders())
def test_every_block_of_a_loaded_run_is_checked(stage, load, key, name, stored, tmp_path, mark):
    path = checkpoint(tmp_path / "run", stage, {**stored, key: HOSTILE[name](mark)})
    assert "may not name it" in refused(mark, lambda: load(path))


@pytest.mark.parametrize("argument", ["tokens", "channels", "condition_width"])
def test_arguments_that_are_filled_in_are_no_way_in(argument, stored, tmp_path, mark):
    writer = HOSTILE["a writer of ours"](mark)
    hostile = {**stored, "backbone": {**stored["backbone"], argument: writer}}
    refused(mark, lambda: load_diffusion(checkpoint(tmp_path / "run", "diffusion", hostile)))  # by its weights


@pytest.mark.parametrize(("command", "body"), [("sample", run_sampling), ("evaluate", run_evaluation)])
@pytest.mark.parametrize("key", ["autoencoder", "conditioner", "backbone"])
def test_the_commands_refuse_such_runs(command, body, key, stored, tmp_path, mark):
    hostile = {**stored, key: touch(mark)}
    path = checkpoint(tmp_path / "run", "diffusion", hostile)
    with initialize_config_dir(str(CONFIGS / "commands"), version_base="1.3"):
        config = compose(command, [f"run={path.parent}", f"output_dir={tmp_path}"])
    refused(mark, lambda: body(config))


def test_interpolations_of_a_sound_configuration_still_work():
    config = OmegaConf.create({"part": {**SOUND, "rate": "${rate}"}, "rate": 3.0})
    assert build(config, "part").rate == 3.0
