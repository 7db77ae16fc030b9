"""SIGKILL of real `train.py` processes at random steps, data workers on: the weights are those of an undisturbed run.

Three starts of a process make this a slow test; nothing smaller shows that all state is in the checkpoint.
"""

import random
import signal
from pathlib import Path

import torch
from tests.runs.conftest import Place

from fieldforge.runs.train import run_training

KILLS = 1  # in each stage
STEPS = 12
LONGER = [
    f"training.autoencoder.budget.max_steps={STEPS}",
    f"training.diffusion.budget.max_steps={STEPS}",
    "callbacks.checkpoints.every_steps=2",
    "data.num_workers=2",
    "latent_data.num_workers=2",
    "data.augment={_target_:fieldforge.data.shape_transforms.Augment,turns:4,mirror:true}",
]


def weights_of(place: Place) -> dict[str, dict[str, torch.Tensor]]:
    """The weights of each stage by the name of its directory."""
    models = place.outputs.glob("tiny/*/model.ckpt")
    return {path.parent.name: torch.load(path, weights_only=True)["state_dict"] for path in models}


def test_killed_at_random_steps(balls: Path, tmp_path: Path) -> None:
    undisturbed, disturbed = Place(balls, tmp_path / "undisturbed"), Place(balls, tmp_path / "disturbed")
    for place in (undisturbed, disturbed):
        place.outputs.mkdir()
    run_training(undisturbed.compose(*LONGER))
    expected = weights_of(undisturbed)
    draw = random.Random(0)
    for _stage in ("autoencoder", "diffusion"):  # a later start goes on behind the steps of the first
        for step in sorted(draw.sample(range(1, STEPS), KILLS)):
            kill = f"+callbacks.kill={{_target_:tests.runs.tiny.SignalAt,step:{step},number:{int(signal.SIGKILL)}}}"
            process = disturbed.start(*LONGER, kill)
            _, stderr = process.communicate(timeout=240)
            assert process.returncode == -signal.SIGKILL, stderr
    process = disturbed.start(*LONGER)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    weights = weights_of(disturbed)
    assert weights.keys() == expected.keys()
    assert len(weights) == 2
    for run in expected:
        different = [name for name, value in expected[run].items() if not torch.equal(value, weights[run][name])]
        assert not different
