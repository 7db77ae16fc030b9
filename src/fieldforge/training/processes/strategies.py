"""Distributed strategies: each process has the whole model (DDP), or a shard of it (FSDP2)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.strategies.strategy import _ForwardRedirection
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from fieldforge.nn.blocks import Block
from fieldforge.training.processes import ranks
from fieldforge.training.processes.checkpoints import read_checkpoint, save_atomically, save_spread
from fieldforge.training.processes.sharded_state import gathered, placed


class Replicated(DDPStrategy):
    """DistributedDataParallel, whose processes fail together when the first cannot save."""

    def __init__(self) -> None:
        super().__init__(forward_sync_buffers=False)  # they are constants here

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        ranks.together(lambda: save_atomically(checkpoint, filepath) if self.is_global_zero else None)


class Sharded(Replicated):
    """Fully sharded data parallel (Zhao et al. 2023, arXiv 2304.11277), torch's `fully_shard`.

    Parameters, gradients, optimiser state and moving average are sharded over all processes by rows; a transformer
    block is gathered when it is used. Checkpoints are sharded too (`sharded_state`). Scalar parameters are replicated;
    a fused optimiser needs them in separate groups, which checkpoints do not contain.
    """

    def __init__(self) -> None:
        super().__init__()
        self._forward_redirection = _ForwardRedirection()  # type: ignore[assignment]
        self._skeleton: pl.LightningModule | None = None
        self._scalars: list[nn.Parameter] = []
        self._groups: list[list[nn.Parameter]] = []  # of the optimiser as the module built it

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        return True  # only then is it known which rows are this process's

    def configure_ddp(self) -> None:
        module = self.lightning_module
        assert module is not None
        self._skeleton = skeleton_of(module)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()  # rows of channels-last weights would not be rows of memory
        for part in module.modules():
            if isinstance(part, Block):
                fully_shard(part, mesh=mesh, mp_policy=block_precision(self.precision_plugin.precision))
        self._scalars = [parameter for parameter in module.parameters() if parameter.ndim == 0]
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=set(self._scalars))

    def setup_optimizers(self, trainer: pl.Trainer) -> None:
        super().setup_optimizers(trainer)
        [optimizer] = self.optimizers
        self._groups = [list(group["params"]) for group in optimizer.param_groups]
        for group in list(optimizer.param_groups):
            scalars = [parameter for parameter in group["params"] if parameter.ndim == 0]
            group["params"] = [parameter for parameter in group["params"] if parameter.ndim > 0]
            if scalars:
                optimizer.param_groups.append({**group, "params": scalars})

    def post_backward(self, closure_loss: Tensor) -> None:
        for gradient in [scalar.grad for scalar in self._scalars if scalar.grad is not None]:
            dist.all_reduce(gradient)
            gradient /= self.world_size  # of accumulated batches too: the mean of what is a mean already is itself

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.train_step_context():
            return self._through_forward("training_step", *args, **kwargs)

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        with self.precision_plugin.val_step_context():
            return self._through_forward("validation_step", *args, **kwargs)

    def _through_forward(self, step: str, *args: Any, **kwargs: Any) -> Any:
        """Runs the step as the module's `forward`, whose hooks gather the parameters."""
        module = self.lightning_module
        assert module is not None
        return self._forward_redirection(module, module, step, *args, **kwargs)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        save_spread(checkpoint, filepath)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(checkpoint_path)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        module = self.lightning_module
        assert module is not None
        module.load_state_dict(placed_like(checkpoint["state_dict"], module.state_dict()), strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        state = optimizer.state_dict()
        known = {id(parameter): index for index, parameter in enumerate(_flat(self._groups))}
        here = [known[id(parameter)] for parameter in _flat(group["params"] for group in optimizer.param_groups)]
        indices = [[known[id(parameter)] for parameter in group] for group in self._groups]
        groups = [{**group, "params": own} for group, own in zip(state["param_groups"], indices, strict=False)]
        return {"state": {here[at]: moments for at, moments in state["state"].items()}, "param_groups": groups}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        [optimizer], [state] = self.optimizers, checkpoint["optimizer_states"]
        known = {id(parameter): index for index, parameter in enumerate(_flat(self._groups))}
        moments = {
            at: {name: placed(value, parameter) for name, value in state["state"][known[id(parameter)]].items()}
            for at, parameter in enumerate(_flat(group["params"] for group in optimizer.param_groups))
            if known[id(parameter)] in state["state"]
        }
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})

    def whole_module(self, weights: Mapping[str, Tensor]) -> pl.LightningModule:
        """The whole module on the CPU with these (sharded) weights; a collective."""
        assert self._skeleton is not None
        module = copy.deepcopy(self._skeleton)
        module.load_state_dict(gathered(dict(weights)), assign=True)
        return module.to("cpu")  # what is no part of the weights as well, and `device` says so


def _flat(groups: Iterable[Iterable[nn.Parameter]]) -> list[nn.Parameter]:
    return [parameter for group in groups for parameter in group]


def whole_module(
    strategy: Strategy, module: pl.LightningModule, weights: Mapping[str, Tensor]
) -> pl.LightningModule | None:
    """A separate whole module with these weights; None where the trained module is whole itself."""
    spread = any(isinstance(weight, DTensor) for weight in weights.values())
    return strategy.whole_module(weights) if spread and isinstance(strategy, Sharded) else None


def placed_like(weights: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Any]:
    """Weights out of a checkpoint, each sharded like the weight of the same name."""
    return {name: placed(value, like[name]) if name in like else value for name, value in weights.items()}


def where_there_is_room(module: pl.LightningModule, device: torch.device) -> pl.LightningModule:
    """The module, moved to a GPU with free memory for it and as much again; else unchanged."""
    if device.type == "cuda":
        size = sum(tensor.nbytes for tensor in module.state_dict().values())
        if 2 * size < torch.cuda.mem_get_info(device)[0]:
            return module.to(device)
    return module


def block_precision(precision: str) -> MixedPrecisionPolicy:
    """Precision of gathered transformer blocks for a precision of Lightning's.

    Blocks are gathered in bfloat16 where autocast would round their weights anyway: half the traffic. Gradients are
    reduced in float32; inputs stay unchanged.
    """
    if precision == "bf16-mixed":
        return MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    if precision == "bf16-true":
        return MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    return MixedPrecisionPolicy(cast_forward_inputs=False)


def skeleton_of(module: pl.LightningModule) -> pl.LightningModule:
    """A copy without parameter values: shapes on the meta device, everything else unchanged."""
    trainer, module._trainer = module._trainer, None
    numbers = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in module.parameters()}
    try:
        return copy.deepcopy(module, dict(numbers))  # the memo of what is copied already: parameters
    finally:
        module._trainer = trainer
