"""What a page offers, and what it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fieldforge.app.settings import AppSettings
from fieldforge.app.wish import MOST_GUIDANCE, Wish
from fieldforge.asking.sampling_model import SamplingModel
from fieldforge.asking.settings import SamplingSettings
from fieldforge.conditioning.class_label import ClassSource
from fieldforge.errors import UserError


@dataclass(frozen=True)
class Start:
    """What the controls offer and begin with.

    Args:
        title: of the page.
        understood: possible conditions: caption, class, image.
        classes: names.
        guidance: the model's scale; None: there is no single one to choose.
        max_steps: at the slider's end.
        wish: initial values.
    """

    title: str
    understood: frozenset[str]
    classes: Sequence[str]
    guidance: float | None
    max_steps: int
    wish: Wish


def start_of(model: SamplingModel, sampling: SamplingSettings, settings: AppSettings) -> Start:
    """What the page of a model offers.

    Raises:
        UserError: a model that begins with a file, or an initial value that it cannot use.
    """
    generator, scale = model.guided.generator, model.guided.scale
    if model.guided.enlarges:
        raise UserError(f"this model enlarges a small {model.domain.noun}: give its file to sample.py from=")
    if isinstance(sampling.class_, list):
        raise UserError(f"class={sampling.class_}: the page begins with one class, give one")
    sources = [generator.conditioner.sources[name] for name in generator.conditioner.names]
    classes = [name for source in sources if isinstance(source, ClassSource) for name in source.classes]
    one_scale = float(scale) if isinstance(scale, int | float) and generator.read else None
    if one_scale is not None and not 0 <= one_scale <= MOST_GUIDANCE:
        raise UserError(f"guidance={one_scale:g} is beyond the slider: give a number from 0 to {MOST_GUIDANCE:g}")
    steps = generator.sampler.steps
    chosen = None if sampling.class_ is None else str(sampling.class_)
    wish = Wish(sampling.prompt, chosen, None, one_scale, steps, sampling.seed)
    if not model.guided.begins:
        wish.request(model)
    name = str(model.label["config"].get("name", "")) or model.path.parent.name
    title = f"A {model.domain.noun} by {name}"
    understood = frozenset(model.understood)
    return Start(title, understood, classes, one_scale, max(settings.max_steps, steps), wish)
