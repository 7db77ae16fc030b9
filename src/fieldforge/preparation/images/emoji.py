"""Asset source: emoji with names and keywords, drawn by Noto (an Iconify package), with emojilib's keywords."""

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fieldforge.preparation.asset_records import AssetRecord
from fieldforge.preparation.images.npm import NpmPackage, member
from fieldforge.storage.files import atomic_file

TONE = re.compile(r"-((?:light|medium-light|medium|medium-dark|dark)-skin-tone)")
WORDS = re.compile(r"[A-Za-z][A-Za-z0-9' -]+")  # some keywords are smileys of punctuation
MOST_KEYWORDS = 6
SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 {} {}">{}</svg>'


@dataclass(frozen=True)
class EmojiSource:
    """An asset source over all emoji that the package names.

    Args:
        drawings: `@iconify-json/noto` or another Iconify set of emoji.
        keywords: `emojilib`.
        cache: where the packages are kept.
        folder: a folder with the packages' files, which replaces the download.
        skin_tones: whether to include people in five colours of skin; without them people are neutral yellow.
        classes: the package's category → class.
        source, licence, creator: metadata of the samples.
    """

    drawings: NpmPackage
    keywords: NpmPackage
    cache: str
    folder: str | None
    skin_tones: bool
    classes: Mapping[str, str]
    source: str
    licence: str
    creator: str

    def records(self, max_file_bytes: int) -> list[AssetRecord]:
        """All emoji, sorted by their names. UserError if a package cannot be had."""
        package = self._path(self.drawings)
        categories = json.loads(member(package, "metadata.json"))["categories"]
        category_of = {icon: category for category, icons in categories.items() for icon in icons}
        chosen = sorted(icon for icon in category_of if self.skin_tones or not TONE.search(icon))
        archive = self._rasterize(package, chosen)
        keywords = self._keywords(package)
        return [self._record(icon, category_of[icon], keywords.get(icon, ()), archive) for icon in chosen]

    def fingerprint(self) -> dict[str, str]:
        """Package → checksum."""
        return {f"{package.name}@{package.version}": package.integrity for package in (self.drawings, self.keywords)}

    def _path(self, package: NpmPackage) -> Path:
        return package.path(Path(self.cache), None if self.folder is None else Path(self.folder))

    def _rasterize(self, package: Path, icons: list[str]) -> Path:
        """A zip with an SVG of each icon."""
        path = Path(self.cache) / f"{package.stem}{'-toned' if self.skin_tones else ''}.zip"
        if not path.is_file():
            drawings = json.loads(member(package, "icons.json"))
            width, height = drawings["width"], drawings["height"]
            with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for icon in icons:
                    body = drawings["icons"][icon]["body"]
                    archive.writestr(zipfile.ZipInfo(f"{icon}.svg"), SVG.format(width, height, body))
        return path

    def _keywords(self, package: Path) -> dict[str, tuple[str, ...]]:
        """Icon → its search keywords."""
        icons = {_code(code): icon for code, icon in json.loads(member(package, "chars.json")).items()}
        listed = json.loads(member(self._path(self.keywords), "dist/emoji-en-US.json"))
        keywords: dict[str, tuple[str, ...]] = {}
        for emoji, words in listed.items():
            icon = icons.get(_code("-".join(f"{ord(character):x}" for character in emoji)))
            if icon is not None:
                keywords[icon] = tuple(word.replace("_", " ").strip() for word in words)
        return keywords

    def _record(self, icon: str, category: str, keywords: tuple[str, ...], archive: Path) -> AssetRecord:
        base = TONE.sub("", icon).replace("-", " ")
        tones = [tone.replace("-", " ") for tone in TONE.findall(icon)]
        name = f"{base} with {' and '.join(tones)}" if tones else base
        asset_class = self.classes[category]
        words = tuple(dict.fromkeys(word for word in keywords if WORDS.fullmatch(word) and word != base))
        words = words[:MOST_KEYWORDS]
        captions = (name, f"{name} emoji", f"{name}, {category.replace(' & ', ' and ').lower()}")
        return AssetRecord(
            id=icon,
            name=base,  # decides the split: an emoji in other colours of skin stays with it
            archive=str(archive),
            file=f"{icon}.svg",
            source=self.source,
            asset_class=asset_class,
            captions=captions + ((f"{name}, {', '.join(words)}",) if words else ()),
            tags=words,
            licence=self.licence,
            creator=self.creator,
        )


def _code(points: str) -> str:
    """Code points of an emoji without the ones that choose between text and picture."""
    return "-".join(point for point in points.lower().split("-") if point != "fe0f")
