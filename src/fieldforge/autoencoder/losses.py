"""What the autoencoder learns from: signed distance, surface colour, and views through the volume integral."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fieldforge.autoencoder.autoencoder import Autoencoder, Batch
from fieldforge.autoencoder.bottleneck import Terms
from fieldforge.errors import UserError
from fieldforge.fields.base import Field, Params
from fieldforge.fields.radiance import RadianceQuery, radiance_query
from fieldforge.noise.randomness import Randomness
from fieldforge.ranges import Count, NotNegative, Positive
from fieldforge.rendering.volume import render_levels


@dataclass(frozen=True)
class AutoencoderLoss:
    """Weighted sum of five terms, each a mean over its points or rays, and of the bottleneck's.

    distance: L1 of signed distance, both sides clamped at ±`clamp` (DeepSDF, Park et al. 2019, eq. 4), over `clamp`.
    occupancy: binary cross-entropy of the side, with sigmoid(-sdf / `sharpness`) as the probability of being inside.
    color: L1 of sRGB at `colored` surface points.
    view: L1 of premultiplied ray colour (Shap-E, Jun & Nichol 2023, section 4.2).
    opacity: L1 of ray opacity, which is that of its transmittance.
    kl: of a `KLBottleneck`, a mean over latents; 0 for every other bottleneck.
    """

    distance: NotNegative = 1.0
    occupancy: NotNegative = 0.02
    color: NotNegative = 2.0
    view: NotNegative = 0.5
    opacity: NotNegative = 0.25
    kl: NotNegative = 0.0
    clamp: Positive = 0.1
    sharpness: Positive = 0.01
    colored: Count = 512
    coarse_samples: Count = 24
    fine_samples: Count = 24

    def __call__(
        self, autoencoder: Autoencoder, batch: Batch, randomness: Randomness
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Batch of the autoencoder's contract → loss (), detached terms by name, before their weights.

        UserError where the bottleneck's terms are not those that have a weight.
        """
        params, of_latents = autoencoder(batch, randomness)
        self._check(of_latents)
        exact = {name: value.float() for name, value in params.items()}
        loss, terms = self.compare(autoencoder.field, exact, batch, randomness)
        for name, term in of_latents.items():
            loss = loss + getattr(self, name) * term
        return loss, {**terms, **{name: term.detach() for name, term in of_latents.items()}}

    def planned(self) -> tuple[AutoencoderLoss, tuple[str, ...]]:
        """The loss without what has no size before there are values, and a sentence for each part that it lacks."""
        return self, ()

    def _check(self, of_latents: Terms) -> None:
        weights = {"kl": self.kl}
        weightless = [name for name in of_latents if not weights.get(name)]
        if weightless:
            raise UserError(
                f"autoencoder_loss: this loss has no weight for {' and '.join(weightless)} of the bottleneck: take a "
                f"loss that has, such as autoencoder_loss=variational for kl, or bottleneck NoisyBottleneck"
            )
        idle = [name for name, weight in weights.items() if weight and name not in of_latents]
        if idle:
            raise UserError(
                f"autoencoder_loss.{idle[0]} = {weights[idle[0]]:g} weighs a term that this autoencoder's bottleneck "
                f"does not have: take autoencoder_loss=default, or bottleneck KLBottleneck"
            )

    def compare(
        self, field: Field, params: Params, batch: Batch, randomness: Randomness
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of the terms for given field parameters, and the terms, in their precision."""
        terms = self.terms(field, params, batch, randomness)
        loss = torch.stack([getattr(self, name) * term for name, term in terms.items()]).sum()
        return loss, {name: term.detach() for name, term in terms.items()}

    def terms(self, field: Field, params: Params, batch: Batch, randomness: Randomness) -> dict[str, Tensor]:
        """The terms that have a weight; those of the volume rendering need rays in the batch, the others distances.

        Under autocast only a `RadianceField`'s volume rendering has products in half precision.
        """
        terms: dict[str, Tensor] = {}
        if self.distance or self.occupancy or self.color:
            with torch.autocast(batch["near_points"].device.type, enabled=False):  # thousandths need float32
                terms |= self._of_points(field, params, batch)
        if self.view or self.opacity:
            terms |= self._of_views(radiance_query(field, params), batch, randomness)
        return terms

    def _of_points(self, field: Field, params: Params, batch: Batch) -> dict[str, Tensor]:
        """`distance`, `occupancy` and `color`."""
        points = torch.cat([batch["near_points"], batch["volume_points"]], 1)  # (B, M + K, 3)
        truth = torch.cat([batch["near_sdf"], batch["volume_sdf"]], 1)  # (B, M + K)
        painted = batch["input"][:, : self.colored]  # (B, P, 9), in random order already
        values = field.query(torch.cat([points, painted[..., :3]], 1), params)
        sdf, rgb = values["sdf"][:, : points.shape[1]], values["rgb"][:, points.shape[1] :]  # (B, M + K), (B, P, 3)
        return {
            "distance": self._clamped(sdf).sub(self._clamped(truth)).abs().mean() / self.clamp,
            "occupancy": F.binary_cross_entropy_with_logits(-sdf / self.sharpness, (truth < 0).float()),
            "color": (rgb - painted[..., 6:]).abs().mean(),
        }

    def _of_views(self, query: RadianceQuery, batch: Batch, randomness: Randomness) -> dict[str, Tensor]:
        """`view` and `opacity`, means over the levels that the field has apart."""
        levels = render_levels(
            query,
            batch["ray_origins"],
            batch["ray_directions"],
            self.coarse_samples,
            self.fine_samples,
            randomness,
        )
        images, truth = [image for image in levels if image is not None], batch["ray_rgba"]
        return {
            "view": torch.stack([(image.rgb - truth[..., :3]).abs().mean() for image in images]).mean(),
            "opacity": torch.stack([(image.opacity - truth[..., 3]).abs().mean() for image in images]).mean(),
        }

    def _clamped(self, sdf: Tensor) -> Tensor:
        return sdf.clamp(-self.clamp, self.clamp)
