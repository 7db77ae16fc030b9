import math
from functools import partial

import pytest
import torch
from tests.diffusion.closed_form import RING, Mixture

from fieldforge.conditioning import ClassSource, Conditioner
from fieldforge.conditioning.condition import Condition
from fieldforge.diffusion.backbones.dit import DiT
from fieldforge.diffusion.classifier import LatentClassifier, classifier_loss
from fieldforge.diffusion.guidance.autoguidance import Autoguidance
from fieldforge.diffusion.guidance.by_classifier import ByClassifier
from fieldforge.diffusion.guidance.classifier_free import ClassifierFree
from fieldforge.diffusion.guidance.clipped import Clipped
from fieldforge.diffusion.guidance.interval import Interval
from fieldforge.diffusion.guidance.over_frames import OverFrames
from fieldforge.diffusion.guidance.rescaled import Rescaled
from fieldforge.diffusion.guidance.several import Several
from fieldforge.diffusion.model import DiffusionModel
from fieldforge.diffusion.parameterization import PredictData
from fieldforge.diffusion.sampler import Sampler
from fieldforge.diffusion.solvers.heun import Heun
from fieldforge.diffusion.spacing import Karras
from fieldforge.errors import UserError
from fieldforge.generation import Generator
from fieldforge.noise.processes import Exponential, LinearInterpolation

ROWS, TOKENS, CHANNELS, WIDTH = 3, 4, 2, 8


def build(seed=0):
    torch.manual_seed(seed)
    backbone = DiT(TOKENS, CHANNELS, width=16, layers=1, heads=2, condition_width=WIDTH, cross_attention=True)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return DiffusionModel(backbone, Exponential(12.0), PredictData()).double().eval()


def conditions(count):
    generator = torch.Generator().manual_seed(1)
    pair = []
    for _ in range(count):
        vector = torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64)
        pair.append(Condition(vector, torch.randn(ROWS, 3, WIDTH, generator=generator, dtype=torch.float64)))
    return pair


@pytest.fixture
def model():
    return build()


@pytest.fixture
def state():
    x_t = torch.randn(ROWS, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return x_t, torch.full((ROWS,), 0.3, dtype=torch.float64)


def test_scale_one_is_the_conditional_model_and_zero_the_unconditional(model, state):
    condition, null = conditions(2)
    for form in (
        ClassifierFree,
        Rescaled,
        Interval,
        partial(Interval, highest=1e-3),
        partial(Interval, guidance=Rescaled),
    ):
        assert torch.equal(form(scale=1.0)(model, condition, null)(*state), model(*state, condition))
        assert torch.equal(form(scale=0.0)(model, condition, null)(*state), model(*state, null))


@pytest.mark.parametrize("form", [ClassifierFree, Rescaled, Interval])
def test_a_model_without_conditions_is_evaluated_once(form, state):
    seen = []

    def model(x_t, t, condition):
        seen.append(len(x_t))
        return 0.5 * x_t

    model.process = Exponential(12.0)
    assert torch.equal(form(3.0)(model, Condition(), Condition())(*state), 0.5 * state[0])
    assert seen == [ROWS]


@pytest.mark.parametrize("scale", [-1.0, 0.5, 3.0, 15.0])
def test_guided_estimate_is_the_extrapolation(model, state, scale):
    condition, null = conditions(2)
    guided = ClassifierFree(scale)(model, condition, null)(*state)
    expected = scale * model(*state, condition) + (1 - scale) * model(*state, null)
    torch.testing.assert_close(guided, expected)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_estimates_are_clipped_before_they_are_guided(model, state, scale):
    condition, null = conditions(2)
    ends = [model(*state, each) for each in (condition, null)]
    limit = float(ends[0].detach().abs().median())
    conditional, unconditional = (end.clamp(-limit, limit) for end in ends)
    guided = Clipped(scale, limit=limit)(model, condition, null)(*state)
    torch.testing.assert_close(guided, scale * conditional + (1 - scale) * unconditional)
    assert (guided.abs().max() > 1.5 * limit) == (scale > 1)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_other_forms_reduce_to_plain_guidance(model, state, scale):
    condition, null, negative = conditions(3)
    plain = ClassifierFree(scale)(model, condition, null)(*state)
    reductions = {
        "rescaled by nothing": Rescaled(scale, phi=0.0)(model, condition, null),
        "an interval without ends": Interval(scale)(model, condition, null),
        "one condition of several": Several([scale])(model, condition, null),
        "a second condition of no weight": Several([scale, 0.0])(model, Condition.cat([condition, negative]), null),
        "a second condition that is null": Several([scale, 5.0])(model, Condition.cat([condition, null]), null),
        "a weak model that sees no condition": Autoguidance(scale, lambda x, t, c: model(x, t, null))(
            model, condition, null
        ),
    }
    for name, denoise in reductions.items():
        torch.testing.assert_close(denoise(*state), plain, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("scale", [-1.0, 0.5, 3.0, 15.0])
def test_away_from_nothing_is_plain_guidance_and_away_from_the_condition_itself_none(model, state, scale):
    conditioner = Conditioner({"class": ClassSource(["chair", "sink", "table"], WIDTH)}).double()
    classes, others = {"class": ["chair", "sink", "table"]}, {"class": ["sink", "table", "chair"]}
    condition, other = (conditioner(conditioner.embed(batch)) for batch in (classes, others))
    dropped = conditioner(conditioner.embed(others), drop={"class": torch.ones(ROWS, dtype=torch.bool)})
    sampler = Generator(model, conditioner, Sampler(Heun(), Karras(), 2), ClassifierFree, (TOKENS, CHANNELS))

    def away_from(negative):
        steering = sampler.steering(classes, ROWS, scale, negative)
        return model.guided(steering.guidance, steering.condition, steering.null)(*state)

    plain = ClassifierFree(scale)(model, condition, conditioner.null(ROWS))(*state)
    conditional = model(*state, condition)
    assert not torch.allclose(plain, conditional, atol=1e-3)
    assert torch.equal(away_from({}), plain)
    assert torch.equal(ClassifierFree(scale)(model, condition, dropped)(*state), plain)
    torch.testing.assert_close(away_from(classes), conditional)
    base = model(*state, other)
    torch.testing.assert_close(away_from(others), base + scale * (conditional - base))


def test_outside_of_the_interval_the_model_is_conditional(model, state):
    condition, null = conditions(2)
    sigma = math.exp(-float(model.process.log_snr(state[1])[0]) / 2)
    inside = Interval(3.0, ClassifierFree, 0.5 * sigma, 2 * sigma)(model, condition, null)
    outside = Interval(3.0, ClassifierFree, 1.5 * sigma, 2 * sigma)(model, condition, null)
    assert torch.equal(inside(*state), ClassifierFree(3.0)(model, condition, null)(*state))
    assert torch.equal(outside(*state), model(*state, condition))


def test_full_rescaling_gives_back_the_conditional_deviation(model, state):
    condition, null = conditions(2)
    rescaled = Rescaled(5.0, phi=1.0)(model, condition, null)(*state)
    torch.testing.assert_close(rescaled.std((1, 2)), model(*state, condition).std((1, 2)))


def test_several_scales_add_up_and_must_match(model, state):
    first, second, null = conditions(3)
    both = Several([2.0, -1.0])(model, Condition.cat([first, second]), null)(*state)
    base = model(*state, null)
    torch.testing.assert_close(both, base + 2 * (model(*state, first) - base) - (model(*state, second) - base))
    with pytest.raises(UserError, match="2 scales"):
        Several([2.0, 1.0])(model, first, null)


def test_autoguidance_leads_away_from_the_weak_model(model, state):
    condition, null = conditions(2)
    weak = build(seed=7)
    guided = Autoguidance(2.0, weak)(model, condition, null)(*state)
    torch.testing.assert_close(guided, 2 * model(*state, condition) - weak(*state, condition))
    assert torch.equal(Autoguidance(1.0, weak)(model, condition, null)(*state), model(*state, condition))


@pytest.fixture
def classifier():
    torch.manual_seed(3)
    network = LatentClassifier(
        TOKENS, CHANNELS, width=16, layers=1, heads=2, classes=5, process=Exponential(12.0)
    ).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def test_classifier_gradient_is_the_finite_difference(classifier, state):
    x_t, t = state
    labels = torch.tensor([0, 3, 4])
    gradient = ByClassifier(classifier, labels).gradient(x_t, t)
    step = 1e-5
    for index in [(0, 0, 0), (1, 2, 1), (2, 3, 0)]:
        moved = torch.zeros_like(x_t)
        moved[index] = step
        row = index[0]
        up, down = (classifier(x_t + sign * moved, t)[row, labels[row]] for sign in (1, -1))
        difference = float((up - down).detach()) / (2 * step)
        assert math.isclose(float(gradient[index]), difference, rel_tol=1e-5, abs_tol=1e-8)


def test_classifier_guidance_at_no_scale_is_its_base(model, classifier, state):
    condition, null = conditions(2)
    labels = torch.tensor([0, 3, 4])
    torch.testing.assert_close(
        ByClassifier(classifier, labels, 0.0)(model, condition, null)(*state), model(*state, null)
    )
    based = ByClassifier(classifier, labels, 0.0, base=ClassifierFree(3.0))(model, condition, null)
    torch.testing.assert_close(based(*state), ClassifierFree(3.0)(model, condition, null)(*state))


class Exact:
    """The unconditional model of a mixture, ignoring conditions."""

    def __init__(self, mixture, process):
        self.mixture, self.process = mixture, process

    def __call__(self, x_t, t, condition):
        return self.mixture.denoised(x_t, self.process.alpha(t), self.process.sigma(t))


@pytest.mark.parametrize("process", [Exponential(12.0), LinearInterpolation()], ids=lambda p: type(p).__name__)
def test_the_true_classifier_at_scale_one_gives_the_true_conditional(process):
    """Bayes: score of the mixture + gradient of the exact p(component | x_t) = score of the component."""

    def posterior(x_t, t):
        return RING.log_density(x_t, process.alpha(t), process.sigma(t)).log_softmax(dim=1)

    x_t = torch.randn(6, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([0.05, 0.2, 0.4, 0.6, 0.8, 0.95], dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    guided = ByClassifier(posterior, labels)(Exact(RING, process), Condition(), Condition())(x_t, t)
    for row, label in enumerate(labels):
        only = Mixture(torch.ones(1).double(), RING.means[label : label + 1], RING.covariances[label : label + 1])
        expected = only.denoised(x_t[row : row + 1], process.alpha(t[row : row + 1]), process.sigma(t[row : row + 1]))
        torch.testing.assert_close(guided[row : row + 1], expected, rtol=1e-6, atol=1e-8)


def test_nothing_to_classify_without_signal():
    process = LinearInterpolation()
    x_t, t = torch.ones(2, 1, 2).double(), torch.ones(2).double()
    guidance = ByClassifier(lambda x, t: (x[:, 0] * 5).log_softmax(dim=1), torch.tensor([0, 1]))
    model = Exact(RING, process)
    assert torch.equal(guidance(model, Condition(), Condition())(x_t, t), model(x_t, t, Condition()))


def test_a_trained_classifier_steers_samples():
    """A small classifier of the four modes, trained on noisy points, leads the unconditional model to each."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    process = Exponential(12.0)
    classifier = LatentClassifier(1, 2, width=32, layers=1, heads=2, classes=4, process=process)
    optimizer = torch.optim.Adam(classifier.parameters(), 3e-3)
    for _ in range(100):
        x0 = RING.sample(256, generator).float()
        labels = torch.cdist(x0[:, 0].double(), RING.means).argmin(dim=1)
        t = torch.rand(256, generator=generator).double()
        loss = classifier_loss(classifier, x0, torch.randn(x0.shape, generator=generator), t, labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    labels = torch.arange(4).repeat_interleave(50)
    guidance = ByClassifier(classifier.eval(), labels, scale=2.0)
    denoise = guidance(Exact(RING, process), Condition(), Condition())
    noise = torch.randn(200, 1, 2, generator=generator)
    x0 = Sampler(Heun(), Karras(1e-2, 100.0), 12)(denoise, noise, process, generator)
    reached = torch.cdist(x0[:, 0].double(), RING.means).argmin(dim=1)
    assert (reached == labels).double().mean() > 0.75  # a quarter without guidance


@pytest.mark.parametrize(("shape", "scales"), [("linear", [1, 2, 3, 4]), ("triangle", [1, 3, 3, 1])])
def test_guidance_grows_over_the_frames(shape, scales, model, state):
    (x, t), (condition, null) = state, conditions(2)
    guided = OverFrames(4.0, TOKENS, shape)(model, condition, null)(x, t)
    weak, strong = model(x, t, null), model(x, t, condition)
    for frame, scale in enumerate(scales):
        torch.testing.assert_close(guided[:, frame], (weak + scale * (strong - weak))[:, frame], rtol=1e-4, atol=1e-6)
    assert torch.equal(OverFrames(1.0, TOKENS, shape)(model, condition, null)(x, t), strong)
