"""A second field beside the package: sounds go the whole road, and no file of the package knows of them."""

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from examples.sound.autoencoder import SpectrumField, loudness
from examples.sound.make_sounds import KINDS
from examples.sound.make_sounds import wave as synthesised
from examples.sound.sound import SoundDomain

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "sound"
LINES = 300  # of the whole example, that a domain takes no more


def typed(*words: str) -> str:
    """Output of a command of the project. AssertionError where it ends with a mistake."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def road(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("road")
    typed("-m", "examples.sound.make_sounds", f"{place}/sounds", "36")
    small = ["training.autoencoder.budget={max_steps:30,max_minutes:null}", "backbone.width=32", "backbone.layers=1"]
    small += ["training.diffusion.budget={max_steps:4,max_minutes:null}", "trainer.accelerator=cpu", "seed=0"]
    small += ["data.num_workers=0", "latent_data.num_workers=0", "backbone.heads=2"]
    places = [f"data.root={place}/sounds", f"output_dir={place}/runs"]
    folders = ["--config-dir", "examples/sound/configs"]
    typed("train.py", *folders, "experiment=sound_latent_class", *places, *small)
    return place


def test_a_sound_is_written_as_a_wave_file_of_one_second(road):
    words = ["class=bell", "n=2", "steps=2", f"output_dir={road}/runs", f"output={road}/samples"]
    typed("sample.py", "trust=examples.sound", *words)
    entries = json.loads((road / "samples" / "samples.json").read_text())["samples"]
    assert [entry["class"] for entry in entries] == ["bell", "bell"]
    for entry in entries:
        with wave.open(str(road / "samples" / entry["wav"])) as file:
            assert (file.getnframes() / file.getframerate(), file.getnchannels()) == (1.0, 1)
            sound = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert sound.std() > 100, "silence"
        assert (road / "samples" / entry["thumbnail"]).is_file()


def test_reconstructions_are_measured_in_the_domains_own_numbers(road):
    (run,) = (path.parent for path in (road / "runs").glob("*/*/latents"))
    typed("evaluate.py", "trust=examples.sound", f"run={run}", "reconstruction.pictures=2")
    report = json.loads((run / "evaluation" / "heldout.json").read_text())
    assert report["mean"].keys() == {"missed", "loudness"}
    assert np.isfinite(list(report["mean"].values())).all()
    assert (run / "evaluation" / "heldout.png").is_file()


def true_sounds(each: int) -> tuple[torch.Tensor, list[str]]:
    """So many sounds (B, L) of each kind, and their kinds."""
    rng, kinds = np.random.default_rng(0), [kind for kind in KINDS for _ in range(each)]
    return torch.from_numpy(np.stack([synthesised(kind, rng) for kind in kinds])), kinds


def test_a_sound_is_found_again_from_its_loudness():
    """Phases are lost: what counts is that the spectra of what is found are those that were asked for."""
    sounds, _ = true_sounds(1)
    outputs = SoundDomain().outputs(SpectrumField(), {"loudness": loudness(sounds)})
    for index in range(len(sounds)):
        assert SoundDomain().measure(outputs[index], {"input": sounds[index : index + 1]})["missed"] < 0.4
    (other,) = SoundDomain().outputs(SpectrumField(), {"loudness": loudness(sounds[:1])})[0].waves
    assert np.array_equal(other, outputs[0].waves[0]), "phases begin alike whatever else is found beside"


def test_the_judge_knows_the_kind_of_true_sounds_and_of_sounds_that_are_found_again():
    domain, (known, kinds), (sounds, wanted) = SoundDomain(), true_sounds(8), true_sounds(3)
    stored = domain.stored_signatures({"input": known})
    outputs = domain.outputs(SpectrumField(), {"loudness": loudness(sounds)})
    for signatures in (domain.stored_signatures({"input": sounds}), domain.signatures(outputs)):
        assert [kinds[place] for place in domain.nearest(signatures, stored)] == wanted


def test_a_checkpoint_of_a_plug_in_is_refused_without_trust(road):
    words = ["sample.py", "class=bell", "n=1", f"output_dir={road}/runs"]
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 2
    assert "trust=<its package>" in ended.stderr.splitlines()[-1]


def test_the_domain_takes_few_lines_and_none_of_the_package():
    files = [path for path in EXAMPLE.rglob("*") if path.suffix in (".py", ".yaml")]
    assert sum(len(path.read_text().splitlines()) for path in files) <= LINES
    modules = [path for path in files if path.suffix == ".py"]
    assert (len(modules), len(files) - len(modules)) <= (7, 7)
    package = (ROOT / "src").rglob("*.py")
    knowing = [path for path in package if "examples.sound" in path.read_text() or "SoundDomain" in path.read_text()]
    assert knowing == []
