"""Texts of an asset: captions in English, names in other languages, the name of its main colour."""

from collections.abc import Sequence

import numpy as np

from fieldforge.preparation.asset_records import AssetRecord

COLOR_SHARE = 0.4
"""From this share of the surface on, a colour is named."""

NO_ARTICLE_EXCEPTIONS = ("ss", "us", "is", "cypress")


def color_name_of_each(rgb: np.ndarray) -> np.ndarray:
    """Everyday colour names (N,) of sRGB colours (N, 3) in 0…1, by hue, saturation and lightness."""
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    chroma, light = high - low, (high + low) / 2
    r, g, b = rgb.T
    safe = np.maximum(chroma, 1e-9)
    hue = 60 * np.select([high == r, high == g], [((g - b) / safe) % 6, (b - r) / safe + 2], (r - g) / safe + 4)
    hues = np.select(
        [hue < 15, hue < 42, hue < 68, hue < 165, hue < 255, hue < 290, hue < 345],
        ["red", "orange", "yellow", "green", "blue", "purple", "pink"],
        "red",
    )
    warm = (hue >= 10) & (hue < 55)
    return np.select(
        [
            (chroma < 0.12) & (light > 0.82),
            light < 0.13,
            (chroma < 0.10) | ((chroma < 0.16) & ~warm),
            warm & (light > 0.62) & (chroma < 0.45),
            warm & ((light < 0.45) | (chroma < 0.45)),
            (hues == "red") & (light > 0.72),
        ],
        ["white", "black", "grey", "beige", "brown", "pink"],
        hues,
    )


def main_color(colors: np.ndarray) -> str | None:
    """Name of the colour that covers at least COLOR_SHARE of colours uint8 (N, 3), else None."""
    names, counts = np.unique(color_name_of_each(colors[:, :3].astype(np.float64) / 255), return_counts=True)
    return str(names[counts.argmax()]) if counts.max() >= COLOR_SHARE * len(colors) else None


def with_article(noun: str) -> str:
    """ "an oak chair", "a sofa", and plurals as they are: "trousers"."""
    head = noun.split(" with ")[0].rstrip()
    if head.endswith("s") and not head.endswith(NO_ARTICLE_EXCEPTIONS):
        return noun
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def in_sentence(name: str) -> str:
    """The name as it stands inside of a sentence: lower-case first letters, but TV and RJ45 stay."""
    return " ".join(word if any(letter.isupper() for letter in word[1:]) else word.lower() for word in name.split())


def size_phrase(size_cm: Sequence[float]) -> str:
    width, height, depth = (f"{round(value)}" if value >= 1 else f"{value:.1f}" for value in size_cm)
    return f"{width} cm wide, {depth} cm deep and {height} cm high"


def captions_of(record: AssetRecord, colors: np.ndarray) -> list[str]:
    """Captions given by the source, then the name by itself, with article, colour, tags and size; no repeats.

    `colors` uint8 (N, 3): samples of the visible surface.
    """
    noun = in_sentence(record.name)
    captions = [*record.captions, record.name, with_article(noun)]
    color = main_color(colors)
    if color is not None:
        captions.append(with_article(noun if color in noun.split() else f"{color} {noun}"))
    words = [tag.lower() for tag in record.tags if tag.lower() not in noun.lower()]
    if words:
        captions.append(f"{with_article(noun)}, {', '.join(words)}")
    if record.size_cm is not None:
        captions.append(f"{with_article(noun)}, {size_phrase(record.size_cm)}")
    return list(dict.fromkeys(captions))
