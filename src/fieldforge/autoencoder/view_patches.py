"""Views with depths → tokens of patches: Shap-E's view encoder.

Letters: V views of H × W pixels, n views of a whole batch, P patches of a view, A of those of a batch that show
something, C encoded channels of a pixel, D channels of a token, w² pixels that a token reads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldforge.errors import UserError
from fieldforge.fields.z_up import to_z_up
from fieldforge.nn.embeddings import positional_encoding, positional_encoding_width
from fieldforge.ranges import Count, Whole

OPAQUE = 0.999  # alpha from which on a pixel shows one surface
CHUNK = 1024  # patches whose pixels exist at the same time, encoded


class ViewPatches(nn.Module):
    """Colour, camera centre and 3-D position of each pixel, encoded; a 3 × 3 convolution, then patches.

    A pixel that no surface covers wholly is a learned vector instead. Positions are those of Shap-E's frame.

    Only what differs is computed: nothing stands between the two convolutions, so that one of w = patch + 2 pixels does
    the work of both; of a patch's pixels the camera's part is the same, and so are all patches without any known pixel
    at one place of the views, which are one token with a count.

    Args:
        width: of a token; half of it between the convolutions.
        patch: pixels along a side of a patch.
        degrees: of the encoding.
    """

    def __init__(self, width: Count = 1024, patch: Count = 8, degrees: Whole = 15):
        super().__init__()
        self.patch, self.degrees = patch, degrees
        channels = 3 * positional_encoding_width(degrees)
        self.unknown = nn.Parameter(torch.randn(channels) * 0.01)
        self.embed = nn.Conv2d(channels, width // 2, 3, padding=1)
        self.to_patch = nn.Conv2d(width // 2, width, patch, stride=patch)

    def forward(self, rgba: Tensor, depth: Tensor, cameras: Tensor, fov_y: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, M, D), and how many patches each stands for (B, M): 0 where a sample has fewer than another.

        rgba (B, V, H, W, 4) in 0…1, depth (B, V, H, W), cameras (B, V, 4, 4), fov_y (B,). UserError for pictures that
        are no whole number of patches.
        """
        (batch, views, height, width), patch = depth.shape, self.patch
        if height % patch or width % patch:
            raise UserError(
                f"autoencoder.encoder: views of {height} × {width} pixels are no whole number of patches of {patch}: "
                f"prepare them with preparation.views.size={-(-height // patch) * patch}"
            )
        known = ((rgba[..., 3] >= OPAQUE) & (depth > 0)).flatten(0, 1)  # (n, H, W)
        colors = 2 * rgba[..., :3] - 1
        centres, positions = (to_z_up(each) for each in seen_points(depth, cameras, fov_y.to(depth)))
        pixels = torch.stack([colors, positions], -2).flatten(0, 3)  # (n · H · W, 2, 3)
        pixels = pixels[known.flatten().nonzero()[:, 0]]  # (K, 2, 3)
        shows = F.max_pool2d(known[:, None].float(), patch + 2, patch, padding=1).flatten(1) > 0  # (n, P)
        places = shows.flatten().nonzero()[:, 0]  # (A,)

        common, empty = self._common(centres.flatten(0, 1), known)  # (n · P, D), (P, D)
        own = self._own(pixels, known, places)  # (A, D)
        counts = shows.unflatten(0, (batch, views)).sum(1)  # (B, P) views that show something at that place
        tokens, present = packed(own + common[places], counts.sum(1))
        tokens = torch.cat([tokens, empty.expand(batch, -1, -1)], 1)
        return tokens, torch.cat([present, views - counts], 1)

    def _own(self, pixels: Tensor, known: Tensor, places: Tensor) -> Tensor:
        """What known pixels (K, 2, 3), colour and position, add to the patches at places (A,) of n · P: (A, D)."""
        colors, _, positions = self.embed.weight.chunk(3, 1)
        weight = self._merged(torch.cat([colors, positions], 1)).permute(2, 1, 0).flatten(0, 1)  # (w² · 2 C / 3, D)
        side = self.patch + 2
        encoded = F.pad(self._encoded(pixels).flatten(1), (0, 0, 1, 0))  # (1 + K, 2 C / 3), first zeros
        numbers = known.flatten().cumsum(0).view_as(known) * known  # (n, H, W) rows of `encoded`
        windows = F.pad(numbers, (1, 1, 1, 1)).unfold(1, side, self.patch).unfold(2, side, self.patch)
        read = windows.reshape(-1, side * side)[places]  # (A, w²)
        parts = [encoded[part].flatten(1) @ weight for part in read.split(CHUNK)]
        return torch.cat(parts) if parts else weight.new_zeros(0, weight.shape[1])

    def _common(self, centres: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """What cameras at centres (n, 3) and unknown pixels add to each patch (n · P, D), and tokens without (P, D)."""
        kernel = self.embed.weight  # (D / 2, C, 3, 3)
        camera = torch.einsum("dcij,nc->dnij", kernel.chunk(3, 1)[1], self._encoded(centres))
        unknown = torch.einsum("dcij,c->dij", kernel, self.unknown)[:, None]
        camera, unknown = self._merged(camera - unknown).transpose(0, 1), self._merged(unknown)[:, 0]  # (n, D, w²)
        seen = known[:, None].to(kernel)  # (n, 1, H, W)
        assert self.embed.bias is not None
        assert self.to_patch.bias is not None
        bias = self.to_patch.bias + self.to_patch.weight.sum((2, 3)) @ self.embed.bias
        empty = (unknown @ self._windows(torch.ones_like(seen[:1]))).transpose(1, 2) + bias  # (1, P, D)
        return (empty + (camera @ self._windows(seen)).transpose(1, 2)).flatten(0, 1), empty[0]

    def _merged(self, kernel: Tensor) -> Tensor:
        """A kernel (D / 2, c, 3, 3) of `embed` → that of both convolutions as one (D, c, w²)."""
        return F.conv_transpose2d(self.to_patch.weight, kernel).flatten(2)

    def _windows(self, image: Tensor) -> Tensor:
        """image (n, 1, H, W) → what a token reads of it, zeros around: (n, w², P)."""
        return F.unfold(image, self.patch + 2, padding=1, stride=self.patch)

    def _encoded(self, vectors: Tensor) -> Tensor:
        """(..., 3) → (..., C / 3)."""
        return positional_encoding(vectors, self.degrees, slowest=1.0)


def packed(rows: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (A, D) of B samples in turn, of which each has counts (B,) → (B, M, D), and which of them are rows (B, M).

    M is the highest count; what is missing is zeros.
    """
    batch, ends = len(counts), counts.cumsum(0)
    most = max(int(counts.max()), -(-len(rows) // batch))  # (never below the mean, which is known without values)
    number = torch.arange(len(rows), device=rows.device)
    sample = torch.searchsorted(ends, number, right=True)  # (A,)
    places = sample * most + number - (ends - counts)[sample]
    table = rows.new_zeros(batch * most, rows.shape[1]).index_copy(0, places, rows)
    return table.unflatten(0, (batch, most)), torch.arange(most, device=rows.device) < counts[:, None]


def seen_points(depth: Tensor, cameras: Tensor, fov_y: Tensor) -> tuple[Tensor, Tensor]:
    """Camera centres (B, V, 3), and what the pixels show (B, V, H, W, 3).

    depth (B, V, H, W) along the rays through pixel centres, cameras (B, V, 4, 4) to world, fov_y (B,) in radians.
    """
    height, width = depth.shape[-2:]
    rows, columns = (torch.arange(count, device=depth.device) + 0.5 for count in (height, width))
    half = (fov_y / 2).tan()[:, None, None, None] / height  # of a pixel's side at distance 1
    y = (height - 2 * rows)[:, None] * half
    x = (2 * columns - width) * half
    x, y = torch.broadcast_tensors(x, y)  # (B, 1, H, W)
    local = torch.stack([x, y, -torch.ones_like(x)], -1).flatten(2, 3)  # (B, 1, H · W, 3)
    directions = F.normalize(local @ cameras[..., :3, :3].transpose(-1, -2), dim=-1).unflatten(2, (height, width))
    centres = cameras[..., :3, 3]  # (B, V, 3)
    return centres, centres[:, :, None, None] + depth[..., None] * directions
