"""What one_picture.py asks of models of clips: six views around a given picture, and its orbit."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fieldforge.conditioning.framing import object_mask
from fieldforge.domains.clip import ClipDomain
from fieldforge.domains.clip_outputs import Clips
from fieldforge.domains.domain import Truth
from fieldforge.domains.photographs import Photograph, given_batch
from fieldforge.geometry.camera import orbit_poses
from fieldforge.geometry.six_views import with_six_views
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.locate import find_model

GUIDANCE = 1.0


class PictureClips:
    """A model of clips that begin with a picture; its seed is the number of the shape."""

    def __init__(self, run: str) -> None:
        path = find_model(run, "outputs", "diffusion")[0]
        self.generator, self.autoencoder, label = load_diffusion(path)
        domain = load_domain(label, path)
        assert isinstance(domain, ClipDomain)
        self.domain, self.seed = domain, 0

    @torch.no_grad()
    def __call__(self, batch: Truth) -> list[Image.Image]:
        """The frames after the first given view of a shape."""
        pixels = (batch["given_rgba"][0, 0] * 255).round().byte().numpy()
        elevation = math.degrees(angles_of(batch)[1])
        opening = self.domain.opening(self.autoencoder, pixels, {"elevation": elevation})
        values = {key: value[None] for key, value in opening.items()}
        latents = self.generator({"image": [pixels], **values}, [self.seed], GUIDANCE)
        self.seed += 1
        clip = self.domain.decode(self.autoencoder, latents)
        assert isinstance(clip, Clips)
        return clip.images


def six_views(clips: PictureClips, batch: Truth, size: int) -> tuple[dict[str, Tensor], list[Image.Image]]:
    """Six generated views as the fields of `GivenViews`, pose and scale known by the given camera; and as pictures."""
    views = clips(batch)[1:]
    azimuth, _, distance = angles_of(batch)
    azimuths, elevations = with_six_views(azimuth, 0.0)
    poses = orbit_poses(torch.tensor(azimuths[1:]), torch.tensor(elevations[1:]), distance).numpy()
    fov_y = float(batch["given_fov"][0, 0])
    return given_batch([photograph(*one, fov_y) for one in zip(views, poses, strict=True)], size), views


def photograph(view: Image.Image, pose: np.ndarray, fov_y: float) -> Photograph:
    """A generated view, the object alone; all of it where no background is told apart."""
    pixels = np.asarray(view.convert("RGBA"))
    mask = object_mask(pixels)
    alpha = np.full(pixels.shape[:2], 255, np.uint8) if mask is None or not mask.any() else mask
    focal = len(pixels) / 2 / math.tan(fov_y / 2)
    middle = len(pixels) / 2
    return Photograph(np.concatenate([pixels[..., :3], alpha[..., None]], -1), pose, (focal, focal), (middle, middle))


def angles_of(batch: Truth) -> tuple[float, float, float]:
    """Azimuth and elevation (radians) and distance of the first given camera."""
    x, y, z = batch["given_cameras"][0, 0, :3, 3].tolist()
    distance = math.hypot(x, y, z)
    return math.atan2(x, z), math.asin(y / distance), distance


def tiled(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size in rows of `columns`."""
    width, height = pictures[0].size
    tile = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    for number, picture in enumerate(pictures):
        tile.paste(picture, (number % columns * width, number // columns * height))
    return tile


def orbit_frames(clips: PictureClips, batch: Truth) -> Image.Image:
    """Six frames of the orbit around a shape, evenly apart, the given one left out."""
    frames = clips(batch)
    return tiled([frames[(place + 1) * len(frames) // 7] for place in range(6)], 3)
