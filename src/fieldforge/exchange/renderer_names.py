"""Names of Shap-E's decoder and field in the layouts of others ⇄ ours.

Ours are those of an `Autoencoder` with `WeightRows` and `ShapEField`: `decoder.*` and `field.*`. A state dict of others
has more: buffers that every latent overwrites (the first weight matrices), the colour of the background, tables of
marching cubes. They say nothing about a shape, and are written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class RendererLayout:
    """Prefixes of a layout: of the maps from latents to rows, of the perceptron's layers, and of the rest."""

    projections: str
    layers: str
    background: str


OPENAI = RendererLayout("encoder.params_proj.projections.", "renderer.nerstf.mlp.", "renderer.void.background")
OPENAI_DECODER = RendererLayout("params_proj.projections.", "renderer.nerstf.mlp.", "renderer.void.background")
DIFFUSERS = RendererLayout("params_proj.projections.", "mlp.mlp.", "void.background")


def from_layout(state: State, layout: RendererLayout, generated: int = 4) -> dict[str, Tensor]:
    """Weights of others → ours; views of the same numbers.

    generated: how many of the perceptron's matrices are made of latents. KeyError names a missing tensor.
    """
    ours: dict[str, Tensor] = {}
    for number in range(generated):
        theirs, own = f"{layout.projections}nerstf__mlp__{number}__weight.", f"decoder.maps.weight_{number}."
        gain = state[theirs + "norm.weight"]  # (width,)
        product, bias = state[theirs + "proj.weight"], state[theirs + "proj.bias"]  # (rows · width, C), (rows · width,)
        ours[own + "weight"] = product.unflatten(0, (-1, len(gain)))
        ours[own + "bias"] = bias.unflatten(0, (-1, len(gain)))
        ours |= {own + name: state[theirs + name] for name in ("norm.weight", "norm.bias")}
        ours[f"field.biases.{number}"] = state[f"{layout.layers}{number}.bias"]
    for number in range(generated, count_layers(state, layout)):
        for kind in ("weight", "bias"):
            ours[f"field.shared.{number - generated}.{kind}"] = state[f"{layout.layers}{number}.{kind}"]
    return ours


def to_layout(ours: State, layout: RendererLayout, background: float = 0.0) -> dict[str, Tensor]:
    """Our weights → those of others, with zeros for the matrices that latents overwrite.

    background: grey behind the shapes, 0…1.
    """
    theirs: dict[str, Tensor] = {}
    generated = sum(name.startswith("field.biases.") for name in ours)
    for number in range(generated):
        name, own = f"{layout.projections}nerstf__mlp__{number}__weight.", f"decoder.maps.weight_{number}."
        product = ours[own + "weight"]  # (rows, width, C)
        theirs[name + "proj.weight"] = product.flatten(0, 1)
        theirs[name + "proj.bias"] = ours[own + "bias"].flatten()
        theirs |= {name + part: ours[own + part] for part in ("norm.weight", "norm.bias")}
        theirs[f"{layout.layers}{number}.weight"] = product.new_zeros(product.shape[:2])
        theirs[f"{layout.layers}{number}.bias"] = ours[f"field.biases.{number}"]
    shared = sum(name.startswith("field.shared.") for name in ours) // 2
    for number in range(shared):
        for kind in ("weight", "bias"):
            theirs[f"{layout.layers}{number + generated}.{kind}"] = ours[f"field.shared.{number}.{kind}"]
    theirs[layout.background] = ours["field.biases.0"].new_full((3,), background)
    return theirs


def count_layers(state: State, layout: RendererLayout) -> int:
    """Layers of the perceptron in a state dict of that layout."""
    return sum(name.startswith(layout.layers) and name.endswith(".bias") for name in state)
