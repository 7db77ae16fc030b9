"""A training so small that its callbacks are what is tested."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fieldforge.nn.ema import PlainDecay
from fieldforge.noise.randomness import StepRandomness
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.budget import Budget, BudgetCallback
from fieldforge.training.callbacks.context import Draw, Measure, TrainingContext, Watcher
from fieldforge.training.callbacks.gradient_guard import GradientGuard
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.processes.hardware import Hardware, fit


class Line(nn.Module):
    """One linear map that should become the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x)


def distance(line: nn.Module, batch: dict, randomness: StepRandomness) -> tuple[Tensor, dict[str, Tensor]]:
    x = batch["input"]
    loss = (line(x) - x).square().mean()
    return loss, {"distance": loss.detach()}


class Data(pl.LightningDataModule):
    """Batch k is a function of k."""

    waited_seconds = 0.0

    def train_dataloader(self) -> Iterator[dict]:
        return torch.utils.data.DataLoader(
            [{"input": torch.randn(4, 3, generator=torch.Generator().manual_seed(k))} for k in range(100)],
            batch_size=None,
        )


def train(
    root: Path,
    *callbacks: pl.Callback,
    steps: int = 10,
    loss: Callable = distance,
    guard: GradientGuard | None = None,
    ema: EMACallback | None = None,
    draw: Draw | None = None,
    measure: Measure | None = None,
) -> AutoencoderModule:
    """A trained module; `module.trainer` and `module.ema` are there to look at."""
    torch.manual_seed(0)
    optimizer = partial(torch.optim.AdamW, lr=0.1, fused=True)
    module = AutoencoderModule(Line(), loss, optimizer, seed=0)
    module.ema = ema or EMACallback(PlainDecay(0.9))
    clock = BudgetCallback(Budget(steps, warmup_steps=0, final_rate=1.0))
    guard = guard or GradientGuard()
    context = TrainingContext(
        "stage", root, "mine", {}, 4, clock, module.ema, guard, draw, measure, place="stage 2 of 3"
    )
    for callback in callbacks:
        if isinstance(callback, Watcher):
            callback.watch(context)
    everything = [clock, module.ema, guard, *callbacks]
    trainer = Hardware(accelerator="cpu", precision="32-true").trainer(
        steps, everything, [], root, log_every_n_steps=1, limit_val_batches=0
    )
    fit(trainer, module, Data(), None)
    return module
