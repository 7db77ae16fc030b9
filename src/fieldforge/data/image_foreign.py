"""Pictures in foreign tars: img2dataset's, or any in WebDataset layout with jpg, png or webp members.

Beside a picture `<key>.jpg` lie its caption (`txt`, `caption`), its class (`cls`) or an object with either (`json`).
"""

import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from fieldforge.data.codec import Payload, encode_json
from fieldforge.data.image_schema import IMAGE
from fieldforge.data.picture_files import read_picture
from fieldforge.data.schema import FieldSpec, Schema

PICTURES = ("jpg", "jpeg", "png", "webp")
CAPTIONS, CLASSES = ("caption", "text", "prompt", "captions"), ("class", "class_name", "label")
MOST_PIXELS = 2**28
ENOUGH = 2048  # pixels of a side: JPEGs are unpacked at a part of their size where both sides are above twice that


def key_and_suffix(name: str) -> tuple[str, str]:
    """Key and suffix (lower case) of a member's name, split as in WebDataset at the first dot of the base name."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def picture_suffix(suffixes: Mapping[str, Any]) -> str | None:
    """Suffix of the picture among the members of a sample: a plain suffix before others ("jpg" before "mask.png")."""
    if "meta.json" in suffixes:  # a sample of a schema of ours, whose manifest is not there
        return None
    pictures = [name for name in suffixes if name.rpartition(".")[2] in PICTURES]
    return min(pictures, key=lambda name: (name.count("."), PICTURES.index(name.rpartition(".")[2])), default=None)


def foreign_members(block: bytes, key: str) -> dict[str, Payload]:
    """Bytes of a sample's tar members → those of the image schema. ValueError if they are damaged."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(block), mode="r:") as archive:
            for member in archive:
                owner, suffix = key_and_suffix(member.name)
                if owner == key and member.isfile() and (file := archive.extractfile(member)) is not None:
                    files[suffix] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"its part of the tar is damaged ({error})") from error
    picture = picture_suffix(files)
    if picture is None:
        raise ValueError("it holds no picture")
    return {"meta.json": encode_json(meta_of(key, files)), "image.png": files[picture]}


def meta_of(key: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """`meta.json` out of what lies beside a picture. ValueError for texts or objects that cannot be read."""
    metadata = json.loads(files["json"]) if "json" in files else {}
    metadata = metadata if isinstance(metadata, dict) else {}
    captions = [files[name].decode().strip() for name in ("txt", "caption") if name in files]
    for name in CAPTIONS:
        captions += _texts(metadata.get(name))
    classes = [files["cls"].decode().strip()] if "cls" in files else []
    classes += [text for name in CLASSES for text in _texts(metadata.get(name))]
    captions = [text for text in dict.fromkeys(captions) if text] or classes[:1]
    return {
        "id": key,
        "name": captions[0] if captions else key,
        "class": classes[0] if classes else "other",
        "captions": captions,
        "captions_by_language": {},
        "tags": [],
        "source": str(metadata.get("url") or "unknown"),
        "licence": str(metadata.get("license") or metadata.get("licence") or "unknown"),
        "creator": "unknown",
        "split": "",
    }


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(part).strip() for part in values if isinstance(part, str | int) and str(part).strip()]


def _pixels(payload: Payload) -> np.ndarray:
    return read_picture(payload, ENOUGH, MOST_PIXELS).pixels


FOREIGN_IMAGE = Schema(
    name="foreign_image",
    version=1,
    fields=tuple(
        FieldSpec(spec.suffix, spec.dtype, spec.shape, fault=spec.fault, decode=_pixels)
        if spec.suffix == "image.png"
        else spec
        for spec in IMAGE.fields
    ),
    kind="image",
    split=foreign_members,
)
