"""What Shap-E costs here, beside the public implementations of it.

    python benchmarks/shap_e.py [--only nerf,mesh,encoder,denoiser] [--rounds 3] [--own-memory]   # prints a table

- denoiser: see denoiser_step.py, whose reference is Shap-E's formulation.
- nerf: the loss of 1,024 rays of one shape (64 coarse and 128 fine samples) with its gradients for the generated
  matrices and the shared layers; against diffusers' `ShapERenderer`. Ours leaves out the quarter of the rays that miss
  the box, as our data transforms do. The map from latents to matrices, the same on both sides, is left out.
- mesh: matrices → coloured mesh on a grid of 128³; against diffusers' `decode_to_mesh`. The matrices are first fitted
  to a ball, as random ones have no surface worth a name.
- encoder: 16,384 points and 20 views of 256² → tokens; against OpenAI's own class, where the package shap_e is
  installed from its repository, and left out where it is not.

Full sizes, random weights, the same on both sides. Before the clock runs, both sides must agree: radiance and distance
at the same points, the colour of the same rays, the volume of the mesh, tokens of the encoder. Sides step in turns, see
`sides.py`.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from functools import partial

import denoiser_step
import shap_e_encoder_sides
import shap_e_renderer_sides
import torch
from sides import by_turns, serve

PARTS: Mapping[str, Mapping[str, Callable[[], Callable[[], object]]]] = {
    "nerf": shap_e_renderer_sides.NERF,
    "mesh": shap_e_renderer_sides.MESH,
    "encoder": shap_e_encoder_sides.SIDES,
    "denoiser": {side: partial(denoiser_step.full_step, side) for side in denoiser_step.SIDES},
}
CHECKS: dict[str, Callable[[], None]] = {
    "nerf": shap_e_renderer_sides.check_radiance,
    "mesh": shap_e_renderer_sides.check_mesh,
    "encoder": shap_e_encoder_sides.check,
    "denoiser": denoiser_step.check_same_function,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    parser.add_argument("--rounds", type=int, default=3, help="steps of each side, after one to warm up")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--own-memory", action="store_true", help="each side with the allocator of its users")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        return serve(PARTS[arguments.only][arguments.side](), arguments.threads)
    rows = []
    for part in arguments.only.split(","):
        if part == "encoder" and not shap_e_encoder_sides.is_installed():
            print("encoder: left out, the package shap_e is not installed")
            continue
        torch.manual_seed(0)
        CHECKS[part]()
        print(f"{part}: both sides agree", flush=True)
        first, *others = PARTS[part]
        costs = by_turns(
            __file__, ["--only", part], list(PARTS[part]), arguments.rounds, arguments.threads, arguments.own_memory
        )
        reference = costs[first]
        for side in others:
            own = costs[side]
            cells = [part, side, f"{reference.cpu / own.cpu:.1f}", f"{reference.cpu:.2f} → {own.cpu:.2f}"]
            rows.append(" | ".join(["", *cells, f"{reference.peak:.1f} → {own.peak:.1f}", ""]).strip())
    print("| part | side | times as fast | processor seconds | peak GiB |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
