"""The forms of the operators, and what they ask for as keys and values of the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fiftyone.operators import types

from fieldforge.errors import UserError
from fieldforge.viewing.commands import at_home, samplers
from fieldforge.viewing.run_choice import RunChoice

OUTPUTS = "outputs"


def output_dir_of(params: Mapping[str, Any]) -> str:
    """The folder of the runs, absolute."""
    return at_home(params.get("output_dir") or OUTPUTS, there=False)


def place_fields(form: Any, params: Mapping[str, Any], dataset: str) -> None:
    """Name of the dataset, folder of the runs, shards that score."""
    form.str("dataset", label="Dataset", description="that the samples are added to", default=dataset, required=True)
    form.str("output_dir", label="Folder of the runs", default=output_dir_of(params), required=True)
    form.str("data_root", label="Shards that score", description="empty: those that the run was trained on")


def run_field(form: Any, choices: Sequence[RunChoice], output_dir: str, several: bool = False) -> None:
    """A run, or several of those offered; one may also be typed, as for sample.py. A notice where none is offered."""
    view = types.Dropdown(multiple=True) if several else types.AutocompleteView(allow_user_input=True)
    for choice in choices:
        view.add_choice(choice.run, label=title_of(choice, output_dir))
    if not choices:
        notice = types.Notice(label=f"There is no finished run for this below {output_dir}.")
        form.view("no_run", notice)
    if several:
        form.list("runs", types.String(), label="Models", required=True, view=view)
        return
    newest = choices[0].run if choices else None
    form.str("run", label="Model", default=newest, required=True, view=view)


def title_of(choice: RunChoice, output_dir: str) -> str:
    """`name/id` of a run below `output_dir`, `pretrained/shapes`."""
    path = Path(choice.run)
    return str(path.relative_to(output_dir)) if path.is_relative_to(output_dir) else choice.run


def sampling_fields(form: Any) -> None:
    """Number, seed, guidance, sampler and steps."""
    form.int("n", label="Samples", default=4, min=1, max=256)
    form.int("seed", label="Seed", description="of the first; the others have the next ones", default=0, min=0)
    guidance_fields(form)
    sampler = types.Dropdown()
    for name in samplers():
        sampler.add_choice(name, label=name)
    form.enum("sampler", sampler.values(), label="Sampler", description="empty: the run's own", view=sampler)


def guidance_fields(form: Any) -> None:
    """Guidance, steps and resolution."""
    form.float("guidance", label="Guidance", description="empty: as in training")
    form.int("steps", label="Steps", description="of the sampler; empty: its own", min=1)
    form.int("resolution", label="Resolution", description="cells of a mesh's grid along an axis; empty: the run's")


def picture_field(form: Any, selected: str | None) -> None:
    """A picture from the machine that FiftyOne runs on; without it, that of the selected sample."""
    view = types.FileExplorerView(choose_dir=False, button_label="Choose a picture …")
    about = "empty: that of the selected sample" if selected else "or select a sample that is one"
    form.file("image", label="Picture", description=about, view=view)
    form.bool("remove_background", label="Cut the background of a photo away", default=False)


def picture_of(params: Mapping[str, Any], selected: str | None) -> str:
    """The path of the picture. UserError for none."""
    chosen = params.get("image")
    path = chosen.get("absolute_path") if isinstance(chosen, Mapping) else chosen
    if not (path or selected):
        raise UserError("image is missing: choose a picture, or select a sample that is one")
    return str(path or selected)


def asked_of(params: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The values of these keys that the form has, as commands take them."""
    values = {key: params.get(key) for key in keys}
    asked = {key: value for key, value in values.items() if value is not None and value != ""}
    return asked | {key: at_home(str(asked[key])) for key in ("run", "data_root") if key in asked}
