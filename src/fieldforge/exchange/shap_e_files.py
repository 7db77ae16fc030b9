"""Where the published weights of Shap-E lie: OpenAI's files, or the folder of a pipeline of diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fieldforge.errors import UserError

OPENAI, DIFFUSERS = "openai:", "diffusers:"
HUB = ("openai/shap-e", "openai/shap-e-img2img")
"""Names of the pipelines on the hub."""
DECODERS = ("transmitter.pt", "vector_decoder.pt")
PRIORS = ("text_cond.pt", "image_cond.pt")
TOWERS = {"text": ("text_encoder", "tokenizer"), "image": ("image_encoder", "image_processor")}
CLIP = "openai/clip-vit-large-patch14"

Kind = Literal["text", "image"]


@dataclass(frozen=True)
class ShapEFiles:
    """The parts of a published model.

    prior: file or folder of the denoiser. decoder: likewise, of field and decoder. kind: of the condition. clip: hub
    name or folders of the encoder and of what prepares its input.
    """

    prior: Path
    decoder: Path
    kind: Kind
    clip: tuple[Path, Path] | str = CLIP


def is_foreign(word: str) -> bool:
    """Whether a value of `run=` or `init_from=` names weights of others."""
    return word.startswith((OPENAI, DIFFUSERS)) or (word in HUB and not Path(word).exists())


def find_files(word: str) -> ShapEFiles:
    """The files of `openai:<folder or file>`, `diffusers:<folder or hub name>`, or a name of `HUB`.

    Names of the hub are downloaded, once.

    Raises:
        UserError: something is missing, or the hub cannot be reached; says what to fetch where.
    """
    if word.startswith(OPENAI):
        return _of_openai(Path(word.removeprefix(OPENAI)).expanduser(), word)
    place = word.removeprefix(DIFFUSERS)
    folder = Path(place).expanduser()
    return _of_diffusers(folder if folder.is_dir() else _download(place), word)


def _of_openai(place: Path, word: str) -> ShapEFiles:
    if not place.exists():
        raise UserError(f"{word}: there is no such file or folder: correct the path")
    folder = place.parent if place.is_file() else place
    priors = [place] if place.is_file() else [folder / name for name in PRIORS if (folder / name).is_file()]
    decoder = next((folder / name for name in DECODERS if (folder / name).is_file()), None)
    if not priors or decoder is None:
        raise UserError(
            f"{word}: {folder} must hold {' or '.join(PRIORS)} and {' or '.join(DECODERS)}, as OpenAI published them: "
            f"put the files there, or give another folder"
        )
    if len(priors) > 1:
        raise UserError(f"{word}: {folder} holds {' and '.join(PRIORS)}: name one, such as {OPENAI}{priors[0]}")
    return ShapEFiles(priors[0], decoder, "image" if priors[0].name.startswith("image") else "text")


def _of_diffusers(folder: Path, word: str) -> ShapEFiles:
    kinds = [kind for kind, (tower, _) in TOWERS.items() if (folder / tower).is_dir()]
    lacking = [part for part in ("prior", "shap_e_renderer") if not (folder / part).is_dir()]
    if lacking or not kinds:
        part = lacking[0] if lacking else f"{TOWERS['text'][0]} or {TOWERS['image'][0]}"
        raise UserError(f"{word}: {folder} holds no folder {part}: give a pipeline of Shap-E that diffusers saved")
    tower, before = TOWERS[kinds[0]]
    clip = (folder / tower, folder / before)
    return ShapEFiles(folder / "prior", folder / "shap_e_renderer", "text" if kinds[0] == "text" else "image", clip)


def _download(name: str) -> Path:
    """The folder of a repository of the hub, from the hub's own cache where it is complete."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*/*"]))
    except Exception as error:  # of the network, the hub and the disk: a dozen kinds
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{name} is no folder here and cannot be downloaded ({reason}): fetch that repository on a machine with a "
            f"network, and give {DIFFUSERS}<its folder>"
        ) from error
