"""The autoencoder of clips: a picture's on every frame, and layers over time that start without effect."""

import pytest
import torch

from fieldforge.autoencoder.autoencoder import Autoencoder
from fieldforge.autoencoder.bottleneck import KLBottleneck
from fieldforge.autoencoder.clip_loss import ClipLoss
from fieldforge.autoencoder.clips import ClipAutoencoder, FrameConvolution
from fieldforge.autoencoder.pictures import PictureDecoder, PictureEncoder
from fieldforge.fields.clip_grid import ClipGrid, clip_centres
from fieldforge.fields.picture import PictureGrid
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.noise.randomness import StepRandomness

SIZE = 8


def of_pictures() -> Autoencoder:
    torch.manual_seed(0)
    decoder = lambda **sizes: PictureDecoder(**sizes, width=4, heads=2)  # noqa: E731
    encoder = PictureEncoder(SIZE, levels=1, width=4, channels=8, heads=2)
    base = Autoencoder(encoder, KLBottleneck(8, 2), PictureGrid(SIZE), decoder)
    base.set_statistics(torch.tensor([0.3, -0.2]), torch.tensor([0.5, 2.0]))
    return base


def clips(frames: int = 5) -> dict[str, torch.Tensor]:
    return {"input": torch.rand(2, frames, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1}


def test_it_starts_as_the_autoencoder_of_pictures_on_every_frame():
    base = of_pictures()
    model, batch = ClipAutoencoder(base, frames=5), clips()
    assert model.latent_shape == LatentShape(5 * 16, 2, (5, 4, 4))
    latents = model.encode(batch)
    each = base.encode({"input": batch["input"][:, 3]})
    torch.testing.assert_close(latents.unflatten(1, (5, 16))[:, 3], each)
    pixels = model.decode(latents)["pixels"].unflatten(1, (5, SIZE**2))
    torch.testing.assert_close(pixels[:, 3], base.decode(each)["pixels"])


def test_layers_over_time_see_the_frames_around_and_no_others():
    model = ClipAutoencoder(of_pictures(), frames=5)
    for layer in model.modules():
        if isinstance(layer, FrameConvolution):
            torch.nn.init.normal_(layer.mix.weight, std=0.1)
    latents = model.encode(clips())
    changed = latents.clone()
    changed[:, :16] += 1  # of the first frame
    layers = sum(isinstance(layer, FrameConvolution) for layer in model.modules())
    assert layers == 2  # each reaches one frame farther
    before, after = (model.decode(each)["pixels"].unflatten(1, (5, -1)) for each in (latents, changed))
    moved = (before - after).abs().amax((0, 2, 3)) > 1e-4
    assert moved.tolist() == [True, True, True, False, False]


def test_only_layers_over_time_learn_and_flicker_counts():
    model, batch = ClipAutoencoder(of_pictures(), frames=5), clips(frames=3)
    loss, terms = ClipLoss()(model, batch, StepRandomness(0, 0, range(2), 2))
    loss.backward()
    learning = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert learning
    assert all(name.startswith("over_time.") for name in learning)
    still = {"input": batch["input"][:, :1].expand(-1, 3, -1, -1, -1)}
    assert ClipLoss()(model, still, StepRandomness(0, 0, range(2), 2))[1]["motion"] < 1e-6 < terms["motion"]


def test_weights_of_pictures_become_those_of_the_base():
    base, model = of_pictures(), ClipAutoencoder(of_pictures(), frames=2)
    weights = model.initial_weights({name: value + 1 for name, value in base.state_dict().items()})
    assert weights.keys() == model.state_dict().keys()
    torch.testing.assert_close(weights["base.latent_mean"], base.latent_mean + 1)


def test_other_bases_are_refused():
    base = of_pictures()
    base.field = ClipGrid(SIZE, 2)
    with pytest.raises(ValueError, match="an autoencoder of pictures"):
        ClipAutoencoder(base, frames=2)


def test_a_field_of_a_clip_is_its_pixels_at_their_centres():
    pixels = torch.rand(1, 3 * 16, 3) * 2 - 1
    read = ClipGrid(4, 3).query(clip_centres(4, 3)[None], {"pixels": pixels})["rgb"]
    torch.testing.assert_close(read, (pixels + 1) / 2)
    longer = torch.rand(1, 5 * 16, 3)  # than the field's usual
    torch.testing.assert_close(
        ClipGrid(4, 3).query(clip_centres(4, 5)[None], {"pixels": longer})["rgb"], (longer + 1) / 2
    )
