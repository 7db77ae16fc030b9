"""A discriminator that trains along, against two optimisers, other numbers of processes and an interruption."""

import copy
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fieldforge.autoencoder.adversary import Adversary, PatchDiscriminator
from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import KLBottleneck
from fieldforge.autoencoder.picture_loss import PictureLoss, edge_distance, rebuilt_pictures
from fieldforge.autoencoder.pictures import PictureDecoder, PictureEncoder
from fieldforge.fields.picture import PictureGrid
from fieldforge.nn.ema import PlainDecay
from fieldforge.noise.randomness import StepRandomness
from fieldforge.training.callbacks.averaging import EMACallback
from fieldforge.training.callbacks.budget import Budget, BudgetCallback
from fieldforge.training.callbacks.checkpointer import Checkpointer
from fieldforge.training.callbacks.context import TrainingContext
from fieldforge.training.callbacks.gradient_guard import GradientGuard
from fieldforge.training.modules.autoencoder_module import AutoencoderModule
from fieldforge.training.modules.optimization import build_optimizer
from fieldforge.training.processes.hardware import Hardware, fit

SIZE, BATCH, STEPS = 32, 4, 6


def autoencoder() -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(
        PictureEncoder(SIZE, levels=2, width=4, channels=8, heads=2),
        KLBottleneck(8, 4),
        PictureGrid(SIZE),
        lambda **sizes: PictureDecoder(**sizes, width=4, heads=2),
    )


def picture_loss(start: int = 0, ramp: int = 2) -> PictureLoss:
    torch.manual_seed(1)
    return PictureLoss(kl=0.01, adversary=Adversary(PatchDiscriminator(4, 2), weight=0.8, start=start, ramp=ramp))


def pictures(number: int) -> Tensor:
    return torch.rand(BATCH, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(number)) * 2 - 1


def randomness(step: int, slots: range = range(BATCH)) -> StepRandomness:
    return StepRandomness(0, step, slots, BATCH)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}


def test_one_backward_gives_both_sides_what_two_optimisers_would() -> None:
    model, loss, truth = autoencoder(), picture_loss(), pictures(0)
    value, terms = loss(model, {"input": truth}, randomness(1))  # half way up the ramp
    value.backward()

    other, judge = autoencoder(), copy.deepcopy(loss.adversary.discriminator).requires_grad_(False)
    params, of_latents = other({"input": truth}, randomness(1))
    rebuilt = rebuilt_pictures(other.field, params, truth)
    balances = []
    for seen, true in zip(rebuilt.detach(), truth, strict=True):  # picture by picture
        seen = seen[None].requires_grad_()
        reconstruction = (seen - true).abs().mean() + 0.5 * edge_distance(seen, true[None])
        against, towards = (torch.autograd.grad(loss, seen)[0] for loss in (reconstruction, judge(seen).mean()))
        of_blocks = [gradient.unfold(2, 8, 8).unfold(3, 8, 8).mean((4, 5)).norm() for gradient in (against, towards)]
        balances.append(of_blocks[0] / (of_blocks[1] + 1e-6))
    scores = judge(rebuilt).mean((1, 2, 3))
    generator = (rebuilt - truth).abs().mean() + 0.5 * edge_distance(rebuilt, truth) + 0.01 * of_latents["kl"]
    generator = generator - 0.4 * (torch.stack(balances).clamp(max=2) * scores).mean()
    generator.backward()
    torch.testing.assert_close(gradients(model), gradients(other))

    judge.requires_grad_(True)
    hinge = (F.relu(1 - judge(truth)).mean() + F.relu(1 + judge(rebuilt.detach())).mean()) / 2
    hinge.backward()
    torch.testing.assert_close(gradients(loss.adversary.discriminator), gradients(judge))
    torch.testing.assert_close(value, generator + hinge)
    torch.testing.assert_close(terms["balance"], torch.stack(balances).mean())


def pull_and_push(adversary: Adversary, truth: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
    """What the adversary adds to the gradient of pixels, and that of the reconstruction."""
    rebuilt = rebuilt.clone().requires_grad_()
    reconstruction = (rebuilt - truth).abs().mean()
    verdict = adversary(truth, rebuilt, reconstruction, 1 << 30)
    pull, push = (torch.autograd.grad(loss, rebuilt, retain_graph=True)[0] for loss in (verdict.loss, reconstruction))
    return pull, push


def test_a_discriminator_that_hardly_looks_has_no_say() -> None:
    adversary, truth = picture_loss().adversary, pictures(0)
    with torch.no_grad():
        adversary.discriminator[-1].weight.mul_(1e-4)
    pull, push = pull_and_push(adversary, truth, truth + 0.1)
    assert 0 < pull.norm() < 0.01 * push.norm()


def test_errors_that_cancel_out_leave_the_adversary_less_say() -> None:
    adversary, truth = picture_loss().adversary, pictures(0)
    signs = torch.rand(truth.shape, generator=torch.Generator().manual_seed(3)).round() * 2 - 1
    biased, noisy = (pull_and_push(adversary, truth, truth + 1e-3 * error)[0].norm() for error in (1, signs))
    assert noisy < 0.5 * biased


def test_before_its_start_the_adversary_learns_alone() -> None:
    model, loss, alone = autoencoder(), picture_loss(start=5), autoencoder()
    loss(model, {"input": pictures(0)}, randomness(5))[0].backward()
    PictureLoss(kl=0.01)(alone, {"input": pictures(0)}, randomness(5))[0].backward()
    torch.testing.assert_close(gradients(model), gradients(alone))
    assert all(gradient.abs().sum() > 0 for gradient in gradients(loss.adversary).values())


def test_evaluated_the_loss_is_that_of_reconstructions() -> None:
    model, batch = autoencoder().eval(), {"input": pictures(0)}
    with torch.no_grad():
        value, terms = picture_loss().eval()(model, batch, randomness(9))
        alone, _ = PictureLoss(kl=0.01)(model, batch, randomness(9))
    torch.testing.assert_close(value, alone)
    assert {"adversary", "disbelief"} <= terms.keys()


def test_a_patch_is_as_large_as_said() -> None:
    for levels, side in ((2, 34), (3, 70)):
        picture = torch.zeros(1, 3, 96, 96, requires_grad=True)
        scores = PatchDiscriminator(4, levels)(picture)
        middle = scores.shape[-1] // 2
        scores[0, 0, middle, middle].backward()
        reached = picture.grad.abs().sum((0, 1)).sum(0).nonzero()
        assert reached.max() - reached.min() + 1 == side


def test_each_side_is_clipped_by_its_own_norm() -> None:
    model, adversary = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    optimizer = build_optimizer(partial(torch.optim.AdamW, fused=True), model, adversary=adversary)
    model.weight.grad, adversary.weight.grad = torch.full((2, 2), 0.1), torch.full((2, 2), 50.0)
    trainer = type("Trainer", (), {"strategy": type("Alone", (), {"reduce": lambda self, value, reduce_op: value})()})()
    guard = GradientGuard(max_norm=1.0)
    guard.on_before_backward(trainer, None, torch.tensor(1.0))
    guard.on_before_optimizer_step(trainer, None, optimizer)
    torch.testing.assert_close(model.weight.grad, torch.full((2, 2), 0.1))
    torch.testing.assert_close(adversary.weight.grad.norm(), torch.tensor(1.0))


class Both(nn.Module):
    """Autoencoder and loss as a process of a training holds them."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder, self.loss = autoencoder(), picture_loss()

    def forward(self, batch: dict[str, Tensor], noise: StepRandomness) -> Tensor:
        return self.loss(self.autoencoder, batch, noise)[0]


def trained(rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """Weights after some steps of plain gradient descent, of which AdamW would hide the size."""
    module = Both()
    step = DistributedDataParallel(module) if world > 1 else module
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for number in range(4):
        batch = {"input": pictures(number)[rank::world]}
        optimizer.zero_grad()
        step(batch, randomness(number, range(rank, BATCH, world))).backward()
        optimizer.step()
    return module.state_dict()


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    weights = trained(rank, 2)
    if rank == 0:
        torch.save(weights, f"{folder}/weights.pt")
    dist.destroy_process_group()


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    mp.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    of_two = torch.load(tmp_path / "weights.pt", weights_only=True)
    torch.testing.assert_close(of_two, trained(), atol=3e-4, rtol=1e-4)


class Data(pl.LightningDataModule):
    """Batch k is a function of k; begins at the step that the training has come to."""

    waited_seconds = 0.0

    def train_dataloader(self):  # type: ignore[no-untyped-def]
        first = self.trainer.global_step
        return torch.utils.data.DataLoader([{"input": pictures(k)} for k in range(first, 20)], batch_size=None)


def run(folder: Path, steps: int, resume_from: Path | None = None) -> AutoencoderModule:
    optimizer = partial(torch.optim.AdamW, lr=1e-2, fused=True)
    module = AutoencoderModule(autoencoder(), picture_loss(), optimizer, seed=0)
    saving, guard = Checkpointer(), GradientGuard()
    clock, ema = BudgetCallback(Budget(steps)), EMACallback(PlainDecay(0.9))
    saving.watch(TrainingContext("autoencoder", folder, "mine", {}, BATCH, clock, ema, guard))
    hardware = Hardware(accelerator="cpu", precision="32-true")
    trainer = hardware.trainer(steps, [guard, saving], [], folder, limit_val_batches=0)
    fit(trainer, module, Data(), resume_from)
    return module


def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", STEPS).state_dict()
    run(tmp_path / "first", STEPS // 2)
    resumed = run(
        tmp_path / "second", STEPS, tmp_path / "first" / "checkpoints" / f"step_{STEPS // 2:09d}.ckpt"
    ).state_dict()
    assert any(name.startswith("loss.adversary.") for name in whole)
    different = [name for name, weight in whole.items() if not torch.equal(weight, resumed[name])]
    assert different == []


def test_weights_of_the_adversary_are_part_of_the_module_and_not_of_the_autoencoder() -> None:
    module = AutoencoderModule(autoencoder(), picture_loss(), partial(torch.optim.AdamW), seed=0)
    names = module.autoencoder.state_dict().keys()
    assert not [name for name in names if "discriminator" in name]
    marks = [group.get("adversary", False) for group in module.configure_optimizers().param_groups]
    assert marks == [False, False, True, True]
