"""Are the sounds of examples/sound of the class that is asked for, and what do they look like?

    python benchmarks/sounds.py outputs/sound_latent_class/<id>

Counts how often the training sound nearest to a held-out one, to its reconstruction and to a generated one is of its
class. Writes the table into docs/domains.md, and spectrograms to docs/images/sound.png: for each class the first
held-out sound, its reconstruction, and three seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from command_line import answer, run_parser
from latent_quality import ROOT, markdown_table, write_section
from PIL import Image

from fieldforge.configuration.trust import trusting
from fieldforge.data.heldout import HeldOut
from fieldforge.data.shards import open_shards
from fieldforge.data.transforms import Meta
from fieldforge.domains.domain import Outputs
from fieldforge.rendering.bitmaps import write_picture
from fieldforge.rendering.sheet import picture_sheet
from fieldforge.stages.diffusion_stage import load_diffusion, load_domain
from fieldforge.stages.sample_judge import stored_samples

EXAMPLE, SHOWN, CELL = "examples.sound", 3, 128


def run(arguments: argparse.Namespace) -> None:
    model, scales = Path(arguments.run) / "model.ckpt", (1.0, 3.0)
    with trusting([EXAMPLE]):
        generator, autoencoder, label = load_diffusion(model)
        domain = load_domain(label, model)
    root = arguments.data or label["config"]["data"]["root"]
    metas, known = stored_samples(domain, root)
    heldout = open_shards(root, "heldout")
    samples = HeldOut(heldout, [*domain.input_transforms(), Meta()], seed=0, batch_size=heldout.samples)
    batch = next(iter(samples))
    kinds = [meta["class"] for meta in batch["meta"]]
    rebuilt = domain.reconstruct(autoencoder, batch)
    classes = sorted(set(kinds))
    prompts = [kind for kind in classes for _ in range(arguments.seeds)]
    seeds = list(range(len(prompts)))
    drawn = {scale: domain.decode(autoencoder, generator({"class": prompts}, seeds, scale)) for scale in scales}

    def share(signatures: list[np.ndarray], wanted: list[str]) -> str:
        near = domain.nearest(signatures, known)
        return f"{np.mean([metas[index]['class'] == kind for index, kind in zip(near, wanted, strict=True)]):.1%}"

    rows = [
        [f"{len(kinds)} held-out sounds", share(domain.stored_signatures(batch), kinds)],
        ["their reconstructions", share(domain.signatures(rebuilt), kinds)],
    ]
    generated = f"{len(prompts)} generated sounds, guidance"
    rows += [[f"{generated} {scale:g}", share(domain.signatures(one), prompts)] for scale, one in drawn.items()]
    steps = f"{label['autoencoder']['steps']:,} and {label['steps']:,} steps of autoencoder and diffusion"
    text = (
        "![Spectrograms of each class: a held-out sound, its reconstruction, three seeds](images/sound.png)\n\n"
        f"`python benchmarks/sounds.py <run>`, {steps}; by chance {1 / len(classes):.1%}.\n"
        f"The picture shows guidance {scales[-1]:g}, the first seeds; nobody picked any.\n\n"
        + markdown_table(["sounds", "nearest training sound is of their class"], rows)
    )
    print(text)
    if not arguments.dry:
        write_section(ROOT / "docs" / "domains.md", "sounds", text)
        pairs = dict(zip(reversed(kinds), reversed(domain.compare(rebuilt, batch, CELL)), strict=True))
        write_picture(sheet(pairs, drawn[scales[-1]], prompts), ROOT / "docs" / "images" / "sound.png")


def sheet(pairs: Mapping[str, list[Image.Image | None]], drawn: Outputs, prompts: list[str]) -> Image.Image:
    """A row for each class: its first held-out sound and the reconstruction of that, then the first generated ones."""
    rows = []
    for kind in sorted(pairs):
        first = prompts.index(kind)
        rows.append([*pairs[kind], *(drawn[first + seed].picture(CELL) for seed in range(SHOWN))])
    heads = ["held-out", "reconstruction", *(f"seed {seed}" for seed in range(SHOWN))]
    return picture_sheet(rows, sorted(pairs), heads, cell=CELL)


def main() -> None:
    parser = run_parser(__doc__, "a finished run of experiment=sound_latent_class")
    parser.add_argument("--seeds", type=int, default=8, help="sounds of each class")
    answer(run, parser)


if __name__ == "__main__":
    main()
