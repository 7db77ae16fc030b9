import base64
import gzip
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fieldforge.rendering.gallery import Exhibit, Media, gallery_html, write_gallery


class Page(HTMLParser):
    """Tags with their attributes, and the text of every element by tag."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data):
        if self.tags and self.texts[self.tags[-1][0]]:
            self.texts[self.tags[-1][0]][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


POSTER = Image.new("RGBA", (8, 8), (200, 30, 30, 255))
EVIL = "<script>alert(\"1\")</script> & {{viewer}} 'quoted'"


@pytest.fixture(scope="module")
def page() -> Page:
    exhibits = [
        Exhibit("a red armchair", POSTER, Media("model/gltf-binary", b"glTF-one"), {"seed": 0, "guidance": 3.0}),
        Exhibit(EVIL, POSTER, Media("model/gltf-binary", b"glTF-two")),
        Exhibit("nothing came out", POSTER),
    ]
    return Page(gallery_html(exhibits, "Title <1>", "run & seed"))


def test_every_shape_has_its_card_poster_facts_and_glb(page):
    assert [attributes["data-prompt"] for attributes in page.all("article")] == [
        "a red armchair",
        EVIL,
        "nothing came out",
    ]
    kinds = [attributes.get("type") for attributes in page.all("script")]
    packed = [text for kind, text in zip(kinds, page.texts["script"], strict=True) if kind == "application/gzip"]
    assert [gzip.decompress(base64.b64decode(text)) for text in packed] == [
        b"glTF-one",
        b"glTF-two",
    ]
    assert page.texts["dt"] == ["seed", "guidance"]
    assert page.texts["dd"] == ["0", "3.0"]
    poster = page.all("img")[0]["src"].removeprefix("data:image/webp;base64,")
    assert (
        np.abs(np.asarray(Image.open(io.BytesIO(base64.b64decode(poster))).convert("RGB"))[0, 0] - [200, 30, 30]).max()
        < 9
    )


def test_texts_cannot_break_out_of_their_places(page):
    assert page.texts["h2"] == ["a red armchair", EVIL, "nothing came out"]
    assert page.texts["h1"][0].strip() == "Title <1>"
    scripts = [attributes.get("type") for attributes in page.all("script")]
    assert scripts == ["application/gzip", "application/gzip", None, "module"]


def test_the_page_needs_nothing_from_elsewhere(page):
    for _, attributes in page.tags:
        for name in ("src", "href"):
            value = attributes.get(name)
            assert value is None or value == "#" or value.startswith("data:"), value
    style = page.texts["style"][0]
    assert not re.search(r"url\(|@import", style)


def test_the_viewer_is_inside_with_its_licence_notice(page):
    module = page.texts["script"][-1]
    assert 'customElements.define("model-viewer"' in module
    assert "Apache License 2.0" in module[:300]
    assert "</script" not in module


def test_an_empty_gallery_and_a_second_writing(tmp_path):
    write_gallery([], tmp_path / "index.html", "first")
    write_gallery([], tmp_path / "index.html", "second")
    assert "<h1>second</h1>" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_sounds_play_and_are_no_shapes():
    sound = Exhibit("a bell", POSTER, Media("audio/wav", b"RIFF-bell"))
    page = Page(gallery_html([sound], "Samples"))
    [player] = page.all("audio")
    assert "controls" in player
    assert player["src"] == "data:audio/wav;base64," + base64.b64encode(b"RIFF-bell").decode()
    assert not page.all("button")
    assert not any("Click a shape" in text for text in page.texts.get("p", []))
    assert "application/gzip" not in [attributes.get("type") for attributes in page.all("script")]


def test_an_animation_takes_the_place_of_the_poster():
    html = gallery_html([Exhibit("a film", POSTER, Media("image/gif", b"GIF8"))], "Samples")
    assert '<img src="data:image/gif;base64,R0lGOA==" alt="a film"' in html


def test_a_volume_rendering_stands_beside_its_mesh_and_for_an_empty_mesh_beside_the_poster():
    radiance = Media("image/gif", b"GIF8")
    both = Exhibit("a shark", POSTER, Media("model/gltf-binary", b"glTF"), rendering=radiance)
    page = Page(gallery_html([both, Exhibit("a shark", POSTER, rendering=radiance)], "Samples"))
    assert [attributes.get("class") for attributes in page.all("article")] == ["both", "both"]
    assert page.texts["small"] == ["mesh", "volume rendering"] * 2
    assert [picture["src"] == "data:image/gif;base64,R0lGOA==" for picture in page.all("img")] == [False, True] * 2
    assert len(page.all("button")) == 1


def test_every_sample_can_be_compared(page):
    boxes = [attributes for attributes in page.all("input") if attributes["type"] == "checkbox"]
    assert len(boxes) == len(page.all("article"))


def test_media_of_another_type_leave_the_poster_alone():
    page = Page(gallery_html([Exhibit("a film", POSTER, Media("video/mp4", b"film"))], "Samples"))
    assert len(page.all("img")) == 1
    assert not page.all("button") + page.all("audio")


def test_a_media_type_cannot_leave_its_attribute():
    evil = 'audio/wav"><script>alert(1)</script>'
    page = Page(gallery_html([Exhibit("a bell", POSTER, Media(evil, b"RIFF"))], "Samples"))
    [player] = page.all("audio")
    assert player["src"].startswith("data:" + evil)
