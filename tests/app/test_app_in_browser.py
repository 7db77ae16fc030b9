"""The app's page in Chromium: controls, progress, history, download."""

import io
import json

import pytest
from PIL import Image

pytest.importorskip("viser", reason="needs pip install '.[app]'")
from tests.app.made_up import glb
from tests.app.test_app import House


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def field(page, label: str):
    """The input to the right of a label of viser's."""
    return page.locator(f"xpath=//label[text()='{label}']/following::input[1]")


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def open_page(browser, house):
    page = browser.new_page(viewport={"width": 500, "height": 400})  # drawn without a GPU
    page.set_default_timeout(90_000)
    strangers: list[str] = []
    page.on("request", lambda one: strangers.append(one.url) if house.app.url not in one.url else None)
    page.goto(house.app.url)
    button(page, "Make").wait_for()
    assert not [url for url in strangers if url.startswith("http")]
    return page


def test_a_visitor_makes_a_shape(browser, house, tmp_path):
    page = open_page(browser, house)
    field(page, "Prompt").fill("a chair")
    buffer = io.BytesIO()
    picture = Image.new("RGB", (8, 8), "white")
    picture.paste("red", (0, 0, 3, 3))
    picture.save(buffer, "PNG")
    sent = {"name": "photo.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
    page.locator("input[type=file]").set_input_files(sent)
    page.get_by_text("photo.png", exact=True).wait_for()
    field(page, "Class").click()
    page.get_by_role("option", name="table").click()
    field(page, "Seed").fill("7")
    button(page, "Make").click()
    house.maker.go.release(2)
    page.get_by_text("Denoised 2 of 4 times").wait_for()
    [wish] = house.maker.wishes
    assert (wish.caption, wish.class_name, wish.picture.name) == ("a chair", "table", "photo.png")
    assert (wish.guidance, wish.steps, wish.seed) == (3.0, 4, 7)
    assert button(page, "Make").is_disabled()
    house.maker.go.release(2)
    page.get_by_text("Done", exact=True).wait_for()
    with page.expect_download() as download:
        button(page, "Download").first.click()
    assert download.value.suggested_filename == "000_a-chair_7.glb"
    download.value.save_as(tmp_path / "saved.glb")
    assert (tmp_path / "saved.glb").read_bytes() == glb()
    page.reload()
    page.get_by_text("a chair, seed 7").wait_for()  # the history
    [entry] = json.loads((tmp_path / "app-000" / "samples.json").read_text())["samples"]
    assert entry["seed"] == 7
    page.close()


def test_who_waits_reads_the_place_and_can_stop(browser, house):
    first, second = open_page(browser, house), open_page(browser, house)
    button(first, "Make").click()
    assert house.maker.begun.wait(30)
    button(second, "Make").click()
    second.get_by_text("Waiting: 1 before you").wait_for()
    button(second, "Stop").click()
    second.get_by_text("Stopped", exact=True).wait_for()
    button(first, "Stop").click()
    first.get_by_text("Stopped", exact=True).wait_for()
    assert len(house.maker.wishes) == 1
    first.close()
    second.close()
