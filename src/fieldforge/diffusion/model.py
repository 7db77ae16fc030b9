"""The diffusion model: backbone, noise process and parameterization, together a denoiser."""

from torch import Tensor, nn

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.denoiser import Denoiser, Guidance
from fieldforge.diffusion.parameterization import Parameterization, input_scale, noise_level
from fieldforge.noise.process import Process, like, placed


class DiffusionModel(nn.Module):
    """`backbone(x (B, T, C), noise_level (B,), condition) → (B, T, C)`, read by `parameterization` under `process`.

    The backbone has `outputs` output channels for each channel of the data.
    """

    outputs = 1

    def __init__(self, backbone: nn.Module, process: Process, parameterization: Parameterization):
        super().__init__()
        self.backbone = backbone
        self.process = process
        self.parameterization = parameterization

    def output(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The backbone's raw output, in the dtype of x_t: (B, T, C)."""
        scaled = like(input_scale(self.process.alpha(t), self.process.sigma(t)), x_t) * x_t  # (B, T, C)
        level = placed(noise_level(self.process.log_snr(t)), x_t)  # (B,)
        return self.backbone(scaled, level, condition).to(x_t.dtype)

    def forward(self, x_t: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The denoised estimate: x_t (B, T, C), t (B,) → x0 (B, T, C)."""
        output = self.output(x_t, t, condition)
        return self.parameterization.denoised(output, x_t, self.process.alpha(t), self.process.sigma(t))

    def guided(self, guidance: Guidance, condition: Condition, null: Condition) -> Denoiser:
        """The denoiser for samplers: this model, guided towards `condition` (B rows)."""
        return guidance(self, condition, null)
