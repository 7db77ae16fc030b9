"""Visitors of the app: wishes, the line, estimates on the way, the history. Without a browser and without a model."""

import io
import time

import pytest
from PIL import Image

pytest.importorskip("viser", reason="needs pip install '.[app]'")
from tests.app.made_up import SETTINGS, START, MadeUp, archive, glb
from tests.app.socket_visitor import SocketVisitor
from tests.app.test_page_server import wait_for

from fieldforge.app.app import App
from fieldforge.app.visitor import Visitor
from fieldforge.errors import UserError


class House:
    """An app, its folder, and visitors that come by sockets."""

    def __init__(self, folder):
        self.maker, self.folder = MadeUp(), folder
        self.app = App(self.maker, archive(folder), START, SETTINGS)  # type: ignore[arg-type]
        self.sockets: list[SocketVisitor] = []

    def visitor(self) -> Visitor:
        before = set(self.app.visitors)
        self.sockets.append(SocketVisitor(self.app.url, self.app.url))
        self.sockets[-1].enter()
        [number] = wait_for(lambda: set(self.app.visitors) - before)
        return self.app.visitors[number]

    def leave(self) -> None:
        """Close the newest visitor's page."""
        count = len(self.app.visitors)
        self.sockets.pop().close()
        wait_for(lambda: len(self.app.visitors) < count)

    def close(self) -> None:
        self.maker.go.release(100)
        for one in self.sockets:
            one.close()
        self.app.close()


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.close()


def said(visitor: Visitor) -> str:
    return visitor.controls._status.content.replace("\\", "")


def is_free(visitor: Visitor) -> bool:
    return not visitor.controls.make.disabled


def test_a_wish_becomes_a_shape_that_is_seen_on_the_way_and_kept(house):
    visitor = house.visitor()
    visitor.controls._prompt.value = "a chair"
    visitor.ask()
    visitor.ask()  # a second click changes nothing
    house.maker.go.release(2)
    wait_for(lambda: said(visitor) == "Denoised 2 of 4 times")
    assert visitor._shape.glb_data == glb(0.5)
    visitor.turn(1.0)
    assert visitor._frame.wxyz[2] > 0
    assert visitor.controls.stop.disabled is False
    house.maker.go.release(2)
    wait_for(lambda: said(visitor) == "Done")
    assert visitor._shape.glb_data == glb()
    assert len(house.maker.wishes) == 1
    folder = house.folder / "app-000"
    assert (folder / "000_a-chair_0.glb").read_bytes() == glb()
    assert (folder / "index.html").is_file()
    assert visitor._latest.download() == ("000_a-chair_0.glb", glb())
    assert not visitor.controls.download.disabled


def test_who_waits_is_told_the_place_and_a_full_line_says_so(house):
    one, two = house.visitor(), house.visitor()
    one.ask()
    assert house.maker.begun.wait(10)
    two.ask()
    wait_for(lambda: said(two) == "Waiting: 1 before you")
    with pytest.raises(UserError, match="1 wait already"):
        house.app._line.join(two._ticket)
    house.maker.go.release(8)
    wait_for(lambda: said(two) == "Done")


def test_a_third_page_is_one_too_many(house):
    house.visitor(), house.visitor()
    third = SocketVisitor(house.app.url, house.app.url)
    third.enter()
    texts: list[str] = []
    wait_for(lambda: texts.extend(map(str, third.receive())) or any("2 pages are open" in text for text in texts))
    assert len(house.app.visitors) == 2
    third.close()


def test_stopping_and_closing_the_page_end_a_sample(house):
    visitor = house.visitor()
    for end in (visitor.leave, house.leave):
        house.maker.begun.clear()
        visitor.ask()
        assert house.maker.begun.wait(10)
        end()
        house.maker.go.release()
        wait_for(lambda: house.app._line._running is None)
    assert said(visitor) == "Stopped"
    assert not list(house.folder.iterdir())


def test_the_history_outlives_a_page_and_keeps_the_newest(house):
    visitor = house.visitor()
    house.maker.go.release(100)
    for seed in range(3):
        visitor.controls._seed.value = seed
        visitor.ask()
        wait_for(lambda: said(visitor) == "Done" and is_free(visitor))
    names = ["001_nothing_1", "002_nothing_2"]
    assert [kept.name for kept in house.app._workshop.archive.recent] == names
    assert len(visitor.controls._entries) == 2
    house.leave()
    again = house.visitor()
    assert [kept.name for kept in again._listed] == names
    again._choose(again._listed[0], "Show")
    assert again._shape.glb_data == glb()


def test_a_mistake_is_a_sentence_on_the_page_and_the_next_wish_goes_on(house, caplog):
    visitor = house.visitor()
    visitor.controls._steps.value = 99  # as a forged message may say
    visitor.ask()
    assert said(visitor) == "99 steps are out of range: give from 1 to 9"
    visitor.controls._steps.value = 1
    for failure, sentence in (
        (UserError("no *such* picture"), "no *such* picture"),
        (RuntimeError("CUDA out of memory. Tried"), "The memory is not enough (CUDA out of memory. Tried)"),
        (ZeroDivisionError("inside"), "This sample failed; the terminal of the app says why"),
    ):
        house.maker.failure = failure
        visitor.ask()
        wait_for(lambda sentence=sentence: said(visitor) == sentence and is_free(visitor))
    assert "ZeroDivisionError: inside" in caplog.text
    assert visitor.controls._status.content.startswith("This sample failed")
    house.maker.failure = None
    house.maker.go.release()
    visitor.ask()
    wait_for(lambda: said(visitor) == "Done")


def test_pictures_are_taken_and_forgotten(house):
    class File:
        name = "../photo.png"

        def __init__(self, content: bytes):
            self.content = content

    visitor = house.visitor()
    buffer = io.BytesIO()
    picture = Image.new("RGB", (8, 8), "white")
    picture.paste("red", (0, 0, 3, 3))
    picture.save(buffer, "PNG")
    visitor.receive(File(buffer.getvalue()))
    assert visitor.controls.wish().picture.name == "photo.png"
    visitor.receive(File(b"nothing"))
    assert "not a readable picture" in said(visitor)
    visitor.controls.take_picture(None)
    assert visitor.controls.wish().picture is None


def test_closing_ends_a_sample_that_runs(tmp_path):
    house = House(tmp_path)
    house.visitor().ask()
    assert house.maker.begun.wait(10)
    house.maker.go.release()
    start = time.monotonic()
    house.close()
    assert time.monotonic() - start < 30
    assert not house.app._line._thread.is_alive()
