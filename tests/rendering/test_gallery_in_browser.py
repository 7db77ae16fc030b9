"""The gallery in Chromium, opened from disk: filters, and two samples side by side."""

import numpy as np
import pytest
from PIL import Image

from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.glb_file import glb_bytes
from fieldforge.rendering.gallery import Exhibit, Media, write_gallery

CORNERS = np.eye(4, 3, dtype=np.float32)
FACES = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])


@pytest.fixture
def page(browser, tmp_path):
    mesh = Media("model/gltf-binary", glb_bytes(ColoredMesh(CORNERS, FACES, np.abs(CORNERS), CORNERS)))
    poster = Image.new("RGBA", (8, 8), "red")
    exhibits = [
        Exhibit("a chair", poster, mesh, {"seed": 0}),
        Exhibit("a chair", poster, mesh, {"seed": 1}),
        Exhibit("a table", poster, None, {"seed": 1}),
    ]
    write_gallery(exhibits, tmp_path / "index.html", "Samples")
    page = browser.new_page(viewport={"width": 640, "height": 480})  # drawn without a GPU
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto((tmp_path / "index.html").as_uri())
    yield page
    page.close()
    assert faults == []


def shown(page) -> list[str]:
    """Prompt and facts of the cards that can be seen."""
    return [text.split("compare")[0] for text in page.locator("main article:visible .caption").all_text_contents()]


def test_a_prompt_and_words_together_choose_what_is_shown(page):
    assert page.locator("select option").all_text_contents() == ["All prompts", "a chair", "a table"]
    page.locator("select").select_option("a chair")
    assert shown(page) == ["a chairseed0", "a chairseed1"]
    assert page.locator("output").text_content() == "2 of 3"
    page.get_by_placeholder("Filter").fill("SEED1")
    assert shown(page) == ["a chairseed1"]
    page.locator("select").select_option("")
    assert shown(page) == ["a chairseed1", "a tableseed1"]


def test_two_samples_stand_side_by_side_and_turn_together(page):
    boxes = page.get_by_label("compare")
    for index in range(2):
        boxes.nth(index).check()
    viewers = page.locator("aside model-viewer")
    loaded = "[...document.querySelectorAll('aside model-viewer')].filter((one) => one.loaded).length === 2"
    page.wait_for_function(loaded, timeout=60_000)
    box = viewers.nth(0).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 40, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    same = """([one, other]) => {
        const [here, there] = [one, other].map((viewer) => viewer.getCameraOrbit().theta);
        return Math.abs(here - 0.5585) > 0.2 && Math.abs(here - there) < 0.01; // 0.5585: 32 degrees, where they begin
    }"""
    page.wait_for_function(f"({same})([...document.querySelectorAll('aside model-viewer')])", timeout=60_000)
    boxes.nth(2).check()  # the third takes the place of the first
    assert [boxes.nth(index).is_checked() for index in range(3)] == [False, True, True]
    assert page.locator("aside article h2").all_text_contents() == ["a chair", "a table"]
    page.keyboard.press("Escape")
    assert not page.locator("aside").is_visible()
    assert not any(boxes.nth(index).is_checked() for index in range(3))
