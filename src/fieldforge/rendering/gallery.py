"""Gallery of generated samples: one HTML file that needs no network, turns shapes, plays sounds and shows clips.

The page renders a shape in 3D only after a click: a hundred shapes cost a hundred posters. It shows the samples of one
prompt, or those with some words, and any two side by side. The viewer is <model-viewer>, vendored in `assets/` with its
licences.
"""

import base64
import gzip
import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from PIL import Image

from fieldforge.rendering.bitmaps import write_whole

VIEWER_NOTICE = (
    "model-viewer 4.4.0, Copyright Google LLC, Apache License 2.0 (http://www.apache.org/licenses/LICENSE-2.0); "
    "contains three.js (MIT), lit (BSD-3-Clause), gainmap-js (MIT), fflate (MIT)"
)


GLB = "model/gltf-binary"
TURN_HINT = """<p class="hint">Click a shape to turn it; drag, scroll and pinch from there.</p>
  <noscript><p>Without JavaScript the shapes stand still.</p></noscript>"""


@dataclass(frozen=True)
class Media:
    """A media file of the page: its type, such as model/gltf-binary or audio/wav, and its content."""

    type: str
    content: bytes

    @property
    def turns(self) -> bool:
        """Whether the viewer can show these media."""
        return self.type == GLB

    @property
    def plays(self) -> bool:
        """Whether these media are a sound."""
        return self.type.startswith("audio/")

    @property
    def moves(self) -> bool:
        """Whether these media are an animation, which is shown in the place of the poster."""
        return self.type == "image/gif"


@dataclass(frozen=True)
class Exhibit:
    """A sample in the gallery: prompt, poster, media (None: the poster only), and facts in order (seed, guidance, …).

    The page shows the poster alone for media that it can neither turn, play nor move.

    rendering: animation of the volume rendering, shown beside the mesh, where the sample's field has a radiance of its
    own.
    """

    prompt: str
    poster: Image.Image
    media: Media | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    rendering: Media | None = None

    @cached_property
    def poster_uri(self) -> str:
        """The poster as a data URI, cached: the page is rewritten after each batch of samples."""
        return _data_uri(_webp(self.poster), "image/webp")

    @cached_property
    def media_text(self) -> str:
        """The media as text of the page: a GLB as gzip in base64, a sound or animation as a data URI, others as ""."""
        if self.media is None:
            return ""
        if self.media.turns:
            return base64.b64encode(gzip.compress(self.media.content, compresslevel=6, mtime=0)).decode()
        return _data_uri(self.media.content, self.media.type) if self.media.plays or self.media.moves else ""

    @cached_property
    def rendering_uri(self) -> str:
        """The volume rendering as a data URI; "" without one."""
        return "" if self.rendering is None else _data_uri(self.rendering.content, self.rendering.type)


def write_gallery(exhibits: Sequence[Exhibit], path: Path, title: str, subtitle: str = "") -> None:
    """Write the gallery as one self-contained HTML file, atomically."""
    write_whole(gallery_html(exhibits, title, subtitle).encode(), path)


def gallery_html(exhibits: Sequence[Exhibit], title: str, subtitle: str = "") -> str:
    """The gallery's page. All texts are escaped."""
    return filled(
        asset("gallery.html"),
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        style=asset("gallery.css"),
        cards="\n".join(card(index, exhibit) for index, exhibit in enumerate(exhibits)),
        hint=TURN_HINT if any(exhibit.media and exhibit.media.turns for exhibit in exhibits) else "",
        script=scripts(),
        viewer_notice=VIEWER_NOTICE,
        viewer=asset("model-viewer.min.js"),
    )


def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    return (files("fieldforge.rendering") / "assets" / name).read_text(encoding="utf-8")


def scripts() -> str:
    """The scripts of a page with cards and filters, besides the viewer."""
    return "".join(map(asset, ("gallery.js", "filter.js", "pair.js")))


def filled(template: str, **values: str) -> str:
    """The template with {{name}} replaced in one pass: braces inside values stay."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def card(index: int, exhibit: Exhibit) -> str:
    """The HTML of an exhibit; `index` names its download."""
    prompt = html.escape(exhibit.prompt)
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd></div>"
        for name, value in exhibit.facts.items()
    )
    download, packed, kind = "", "", ""
    if exhibit.media is not None and exhibit.media.turns:
        download = f'<a href="#" download="shape_{index:03d}.glb">GLB</a>'
        packed = f'<script type="application/gzip">{exhibit.media_text}</script>'
    stages = f'<div class="stage">{_stage(exhibit, prompt)}</div>'
    if exhibit.rendering is not None:
        kind = ' class="both"'
        stages = (
            f'<div class="stage">{_stage(exhibit, prompt)}<small>mesh</small></div>'
            f'<div class="stage"><img src="{html.escape(exhibit.rendering_uri)}" alt="{prompt}, volume rendering" '
            f'decoding="async"><small>volume rendering</small></div>'
        )
    ways = f'<label><input type="checkbox" autocomplete="off">compare</label>{download}'
    return (
        f'<article{kind} data-prompt="{prompt}"><div class="stages">{stages}</div>'
        f'<div class="caption"><h2>{prompt}</h2><div><dl>{facts}</dl><span class="ways">{ways}</span></div></div>'
        f"{packed}</article>"
    )


def _stage(exhibit: Exhibit, prompt: str) -> str:
    """The HTML of the media, or of the poster that stands for them; `prompt` is escaped."""
    poster = f'<img src="{exhibit.poster_uri}" alt="{prompt}" decoding="async">'
    if exhibit.media is None:
        return poster
    if exhibit.media.plays:
        source = html.escape(exhibit.media_text)
        return f'{poster}<audio controls preload="none" src="{source}" aria-label="Play: {prompt}"></audio>'
    if exhibit.media.moves:
        return f'<img src="{exhibit.media_text}" alt="{prompt}" decoding="async">'
    return f'<button type="button" aria-label="Turn: {prompt}">{poster}</button>' if exhibit.media.turns else poster


def _webp(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=85)
    return buffer.getvalue()


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
