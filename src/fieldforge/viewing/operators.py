"""The operators of FiftyOne's plugin: samples of the user's own runs, by its App or its SDK, at once or delegated."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types

from fieldforge.errors import UserError
from fieldforge.viewing import forms
from fieldforge.viewing.commands import at_home, sentences
from fieldforge.viewing.comparison_slices import compare
from fieldforge.viewing.generation_slices import generate
from fieldforge.viewing.run_choice import RunChoice, runs_below

SAMPLING = ("run", "n", "seed", "guidance", "sampler", "steps", "resolution")
PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "gif")


class FieldforgeOperator(foo.Operator):
    """Common part of the operators. title: in the App. dataset: the usual name of the one that gets the samples."""

    title: ClassVar[str]
    key: ClassVar[str]
    icon: ClassVar[str] = "view_in_ar"
    dataset: ClassVar[str] = "generated"

    @property
    def config(self) -> Any:
        return foo.OperatorConfig(
            name=self.key,
            label=self.title,
            icon=self.icon,
            dynamic=True,
            allow_immediate_execution=True,
            allow_delegated_execution=True,
        )

    def resolve_input(self, ctx: Any) -> Any:
        form = types.Object()
        self.add_fields(form, ctx, forms.output_dir_of(ctx.params))
        forms.place_fields(form, ctx.params, self.dataset)
        return types.Property(form, view=types.View(label=self.title))

    def resolve_output(self, ctx: Any) -> Any:
        shown = types.Object()
        shown.int("samples", label="Samples")
        shown.str("dataset", label="Dataset")
        shown.str("scores", label="Scores")
        return types.Property(shown, view=types.View(label=self.title))

    def execute(self, ctx: Any) -> dict[str, Any]:
        with sentences():
            done = self.work(ctx, ctx.params.get("dataset", self.dataset), forms.output_dir_of(ctx.params))
        if not ctx.delegated:
            ctx.ops.open_dataset(done["dataset"])
        return done

    @abstractmethod
    def add_fields(self, form: Any, ctx: Any, output_dir: str) -> None:
        """Add the fields of this operator to its form."""

    @abstractmethod
    def work(self, ctx: Any, dataset: str, output_dir: str) -> dict[str, Any]:
        """Sample into the dataset; returns what the App shows. UserError for a request that cannot be met."""


class Generation(FieldforgeOperator):
    """Operators that ask one run as sample.py does."""

    def work(self, ctx: Any, dataset: str, output_dir: str) -> dict[str, Any]:
        asked = {**forms.asked_of(ctx.params, *SAMPLING), **self.asked(ctx)}
        wanted = int(ctx.params.get("n") or 4)

        def progress(done: int) -> None:
            ctx.set_progress(done / wanted, label=f"{done} of {wanted} samples")

        data_root = forms.asked_of(ctx.params, "data_root").get("data_root")
        samples, unscored = generate(asked, dataset, data_root, output_dir, progress)
        return {"samples": samples, "dataset": dataset, "scores": f"none: {unscored}" if unscored else "fields score_…"}

    @abstractmethod
    def asked(self, ctx: Any) -> Mapping[str, Any]:
        """Keys of sample.py besides `SAMPLING`."""


class GenerationFromText(Generation):
    title, key = "Fieldforge: generate from text", "generate_from_text"

    def resolve_placement(self, ctx: Any) -> Any:
        """A button above the grid."""
        button = types.Button(label=self.title, icon=self.icon, prompt=True)
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)

    def add_fields(self, form: Any, ctx: Any, output_dir: str) -> None:
        form.str("prompt", label="Prompt", required=True)
        forms.run_field(form, models(output_dir, animate=False), output_dir)
        forms.sampling_fields(form)

    def asked(self, ctx: Any) -> Mapping[str, Any]:
        prompt = str(ctx.params.get("prompt") or "")
        if not prompt.strip():
            raise UserError("prompt is missing: write what to make")
        return {"prompt": prompt}


class GenerationFromPicture(Generation):
    title, key = "Fieldforge: generate from picture", "generate_from_picture"

    def add_fields(self, form: Any, ctx: Any, output_dir: str) -> None:
        forms.picture_field(form, selected_picture(ctx))
        form.str("prompt", label="Prompt", description="a text that steers as well, for models that read both")
        forms.run_field(form, models(output_dir, animate=False), output_dir)
        forms.sampling_fields(form)

    def asked(self, ctx: Any) -> Mapping[str, Any]:
        image = forms.picture_of(ctx.params, selected_picture(ctx))
        return {"image": image, **forms.asked_of(ctx.params, "prompt", "remove_background")}


class Animation(Generation):
    title, key, icon = "Fieldforge: animate picture", "animate_picture", "animation"

    def add_fields(self, form: Any, ctx: Any, output_dir: str) -> None:
        forms.picture_field(form, selected_picture(ctx))
        forms.run_field(form, models(output_dir, animate=True), output_dir)
        form.int("frames", label="Frames", description="empty: as many as the model has", min=2)
        form.float("elevation", label="Elevation", description="degrees, of an orbit around the thing in the picture")
        form.float("motion", label="Motion", description="how much moves, for models that read it")
        forms.sampling_fields(form)

    def asked(self, ctx: Any) -> Mapping[str, Any]:
        image = forms.picture_of(ctx.params, selected_picture(ctx))
        return {"image": image, **forms.asked_of(ctx.params, "remove_background", "frames", "elevation", "motion")}


class ModelComparison(FieldforgeOperator):
    title, key, icon = "Fieldforge: compare models on one prompt", "compare_models", "compare"
    dataset = "compared"

    def add_fields(self, form: Any, ctx: Any, output_dir: str) -> None:
        form.str("prompt", label="Prompt", required=True)
        forms.run_field(form, models(output_dir, animate=False), output_dir, several=True)
        form.int("n", label="Seeds", default=2, min=1, max=64)
        form.int("seed", label="First seed", default=0, min=0)
        forms.guidance_fields(form)

    def work(self, ctx: Any, dataset: str, output_dir: str) -> dict[str, Any]:
        params = ctx.params
        seed, count = int(params.get("seed") or 0), int(params.get("n") or 2)
        asked = forms.asked_of(params, "guidance", "steps", "resolution", "data_root")
        if "guidance" in asked:
            asked["guidance_scale"] = asked.pop("guidance")
        asked |= {"prompts": [params.get("prompt") or ""], "runs": [at_home(run) for run in params.get("runs") or ()]}
        summary, groups = compare({**asked, "seeds": list(range(seed, seed + count))}, dataset, output_dir)
        return {"samples": groups * len(asked["runs"]), "dataset": dataset, "scores": summary}


def models(output_dir: str, animate: bool) -> list[RunChoice]:
    """The diffusion models below a folder of runs that make clips, or that make anything else."""
    return [choice for choice in runs_below(output_dir, "diffusion") if choice.animates == animate]


def selected_picture(ctx: Any) -> str | None:
    """The file of the selected sample, if it is a picture."""
    if not ctx.selected:
        return None
    path = str(ctx.dataset[ctx.selected[0]].filepath)
    return path if path.lower().endswith(PICTURES) else None


OPERATORS = (GenerationFromText, GenerationFromPicture, Animation, ModelComparison)
