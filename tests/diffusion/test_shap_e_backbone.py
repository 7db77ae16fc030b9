"""Shap-E's denoiser against diffusers' `PriorTransformer`, and its loop against diffusers' pipeline."""

import math

import pytest
import torch
from diffusers import HeunDiscreteScheduler, ShapEPipeline
from tests.diffusion.shap_e_prior import CHANNELS, KINDS, TOKENS, random_prior

from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.shap_e import STEPS, ShapEBackbone, discrete_step
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.parameterization import PredictData, noise_level
from fieldforge.diffusion.sampler import Sampler
from fieldforge.diffusion.solvers.heun import Heun
from fieldforge.diffusion.spacing import Karras
from fieldforge.diffusion.thresholding import Clip
from fieldforge.diffusion.variance import LearnedVarianceModel
from fieldforge.errors import UserError
from fieldforge.exchange.prior_names import from_diffusers
from fieldforge.noise.processes import Exponential

B, GRID = 3, 5


def pair(kind, dtype=torch.float64):
    """Our backbone and diffusers' prior with the same weights."""
    prior, backbone = random_prior(kind), ShapEBackbone(**KINDS[kind]).eval()
    backbone.load_state_dict(from_diffusers(prior.state_dict()))
    return backbone.to(dtype), prior.to(dtype)


def condition_of(kind, size=B):
    """Features as their source offers them, and as diffusers' pipelines hand them to the prior."""
    width = KINDS[kind]["condition_width"]
    if kind == "text":
        vector = torch.nn.functional.normalize(torch.randn(size, width, dtype=torch.float64), dim=-1)
        return Condition(vector), math.sqrt(width) * vector
    tokens = 3 * torch.randn(size, GRID, width, dtype=torch.float64)
    return Condition(tokens=tokens), tokens


def level_of_step(step):
    return noise_level(Exponential(12.0).log_snr((step.double() + 1) / STEPS))


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_prior_of_diffusers_is_the_same_function(kind, null):
    torch.manual_seed(0)
    backbone, prior = pair(kind)
    condition, theirs = condition_of(kind)
    if null:
        theirs = torch.zeros_like(theirs)
        condition = Condition(theirs) if kind == "text" else Condition(tokens=theirs)
    x, step = torch.randn(B, TOKENS, CHANNELS, dtype=torch.float64), torch.tensor([0, 411, 1023])
    ours = backbone(x, level_of_step(step), condition)
    expected = prior(x, step, theirs).predicted_image_embedding
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)  # theirs computes the waves of the step in float32
    assert ours.std() > 0.1


def test_steps_are_whole_numbers_at_the_noise_levels_of_training():
    step = torch.arange(STEPS)
    torch.testing.assert_close(discrete_step(level_of_step(step)), step.double(), rtol=0, atol=1e-8)
    torch.testing.assert_close(discrete_step(level_of_step(step).float()), step.float(), rtol=0, atol=1e-3)


def test_steps_between_and_beyond_are_those_of_diffusers():
    scheduler = HeunDiscreteScheduler(STEPS, beta_schedule="exp", use_karras_sigmas=True)
    scheduler.set_timesteps(40)
    sigma = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1:-1]]).double()
    steps = discrete_step(sigma.log() / 4)
    torch.testing.assert_close(steps, scheduler.timesteps.double(), rtol=0, atol=0.02)  # of a table in float32
    assert discrete_step(torch.tensor([1e-3, 1e6]).log() / 4).tolist() == [0, STEPS - 1]


def test_weights_start_as_the_original_s():
    torch.manual_seed(0)
    backbone = ShapEBackbone(tokens=64, channels=8, width=256, layers=2, heads=4, condition_width=12)
    deviation = 0.25 / math.sqrt(256)
    block = backbone.transformer.blocks[1]
    step, feed = backbone.embed_step, block.feed
    for layer in (block.attention.to_qkv, block.attention.to_out, feed[0], feed[2], step[0], step[2]):
        assert layer.weight.detach().std() == pytest.approx(deviation, rel=0.02)
        assert not layer.bias.any()
    assert backbone.positions.detach().std() == pytest.approx(0.05, rel=0.02)
    assert not backbone.project.weight.any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_takes_part_with_a_condition_and_without(kind):
    torch.manual_seed(0)
    backbone, _ = pair(kind)
    x, step = torch.randn(B, TOKENS, CHANNELS, dtype=torch.float64), torch.tensor([5, 411, 1000])
    for condition in (condition_of(kind)[0], Condition()):
        backbone.zero_grad()
        backbone(x, level_of_step(step), condition).square().sum().backward()
        assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []


def test_tokens_that_the_mask_hides_change_nothing():
    torch.manual_seed(0)
    backbone, _ = pair("image")
    x, level = torch.randn(B, TOKENS, CHANNELS, dtype=torch.float64), level_of_step(torch.tensor([5, 411, 1000]))
    tokens = condition_of("image")[0].tokens
    mask = torch.ones(B, GRID + 2, dtype=torch.bool)
    mask[:, GRID:] = False
    longer = torch.cat([tokens, torch.full_like(tokens[:, :2], 7.0)], dim=1)
    torch.testing.assert_close(
        backbone(x, level, Condition(tokens=longer, mask=mask)), backbone(x, level, Condition(tokens=tokens))
    )


@pytest.mark.parametrize(("kind", "other"), [("text", "tokens"), ("image", "vector")])
def test_a_part_of_the_condition_that_it_would_ignore_is_refused(kind, other):
    backbone, _ = pair(kind)
    width = KINDS[kind]["condition_width"]
    condition = Condition(torch.zeros(B, width), torch.zeros(B, GRID, width))
    with pytest.raises(UserError, match=f"backbone would ignore: set {other}=false"):
        backbone(torch.zeros(B, TOKENS, CHANNELS), torch.zeros(B), condition)


@pytest.mark.parametrize("scale", [1.0, 15.0])
def test_sampling_is_the_loop_of_the_pipeline_of_diffusers(scale):
    """Between the noise levels of diffusers' table, with the guided estimate clipped: options of our sampler."""
    torch.manual_seed(0)
    backbone, prior = pair("text", torch.float32)
    for layer in (backbone.project, prior.proj_to_clip_embeddings):  # else guidance drives nearly all into the clip
        layer.weight.data *= 0.1
        layer.bias.data *= 0.1
    condition, theirs = condition_of("text")
    scheduler = HeunDiscreteScheduler(
        STEPS, beta_schedule="exp", prediction_type="sample", use_karras_sigmas=True, clip_sample=True
    )
    pipeline = Embedded(prior, None, None, scheduler, None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.embedding = theirs.float()
    noise = torch.randn(B, TOKENS, CHANNELS)
    settings = dict(num_inference_steps=64, guidance_scale=scale, output_type="latent")
    expected = pipeline(["a", "b", "c"], latents=noise.flatten(1), **settings).images

    process = Exponential(12.0)
    lowest = math.sqrt(math.expm1(12 / STEPS))  # σ/α of the first step; the spacing ends at the process's highest
    sampler = Sampler(Heun(), Karras(lowest, 1e3, 7.0), steps=64, threshold=Clip(1.0))
    model = LearnedVarianceModel(backbone, process, PredictData())
    condition = condition.to(torch.float32)
    denoise = model.guided(ClassifierFree(scale), condition, Condition(torch.zeros_like(condition.vector)))
    ours = sampler(denoise, noise, process, torch.Generator())
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
    assert 0.05 < ours.std() < 0.9


class Embedded(ShapEPipeline):
    """The pipeline with `embedding` (B, D) in the place of its text encoder's."""

    def _encode_prompt(self, prompt, device, num_images_per_prompt, do_classifier_free_guidance):
        zeros = [torch.zeros_like(self.embedding)] if do_classifier_free_guidance else []
        return torch.cat([*zeros, self.embedding])
