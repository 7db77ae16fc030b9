"""A linear map whose weight gradient suits the CPU's bfloat16 tiles."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDE = 1024  # input features from which on the copy below pays for itself (measured; at 256 it costs more)
TILES = torch.cpu._is_amx_tile_supported()


class WideLinear(nn.Linear):
    """`nn.Linear` with a faster backward pass for wide layers on a CPU with AMX tiles; elsewhere it equals `nn.Linear`.

    Their products read a transposed left factor at half speed; copying this factor first is cheaper for long rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) → (..., out)."""
        weight = self.weight  # read once, as a corrected weight is computed anew each time
        bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        training = torch.is_grad_enabled() and weight.requires_grad and x.device.type == "cpu"
        if not (TILES and bfloat16 and training and self.in_features >= WIDE):
            return F.linear(x, weight, self.bias)
        bias = None if self.bias is None else self.bias.bfloat16()
        return _CopiedTranspose.apply(x.bfloat16(), weight.bfloat16(), bias)


class _CopiedTranspose(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = gradients[0].flatten(0, -2)  # (N, out)
        of_weight = rows.t().contiguous() @ x.flatten(0, -2)  # (out, in)
        return gradients[0] @ weight, of_weight, rows.sum(dim=0) if ctx.has_bias else None
