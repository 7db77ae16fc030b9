"""Wishes are data from outside: each value is checked, and a file's name is only shown."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.app.made_up import MadeUp

from fieldforge.app.wish import Picture, Wish
from fieldforge.errors import UserError

WISH = Wish("a chair", None, None, 3.0, 4, 0)


def file(kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    picture = Image.new("RGB", size, "white")
    picture.paste("red", (0, 0, 3, 3))
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"caption": "a" * 1001}, "the prompt has 1001 letters"),
        ({"guidance": float("nan")}, "guidance nan is out of range"),
        ({"guidance": 21.0}, "guidance 21 is out of range"),
        ({"steps": 0}, "0 steps are out of range"),
        ({"steps": 10}, "10 steps are out of range"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"seed": 2**62}, "seed 4611686018427387904 is out of range"),
    ],
)
def test_values_out_of_range_are_named(change, sentence):
    WISH.check(9)
    with pytest.raises(UserError, match=sentence):
        replace(WISH, **change).check(9)


def test_a_request_has_what_was_given():
    picture = Picture.read("photo.png", file())
    wish = replace(WISH, caption="  a chair ", class_name="table", picture=picture)
    request = wish.request(MadeUp().model)
    assert request.labels == {"caption": "a chair", "class": "table", "image": "photo.png"}
    assert request.values["image"].shape == (6, 8, 4)
    assert replace(WISH, caption=" ").request(MadeUp().model).values == {}


def test_what_the_model_does_not_know_is_refused():
    model = MadeUp().model
    with pytest.raises(UserError, match="class='lamp' is not one"):
        replace(WISH, class_name="lamp").request(model)
    model.guided.generator.keys = {"image"}  # a prior reads the prompt
    assert WISH.request(model).labels == {"caption": "a chair"}
    with pytest.raises(UserError, match="prompt would only make a picture, and one is given"):
        replace(WISH, picture=Picture.read("photo.png", file())).request(model)
    model.understood = {"class"}
    with pytest.raises(UserError, match="this model was not trained with prompt"):
        WISH.request(model)


def test_pictures_lose_their_folder_and_must_be_pictures(monkeypatch):
    assert Picture.read("../../etc/a\\b.jpg", file("JPEG")).name == "b.jpg"
    with pytest.raises(UserError, match=r"^x\.png: not a readable picture"):
        Picture.read("x.png", b"no picture")
    with pytest.raises(UserError, match="not a readable picture"):
        Picture.read("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(UserError, match="8000 x 4000 pixels are too many"):
        Picture.read("x.png", file(size=(8000, 4000)))
    with pytest.raises(UserError, match="blank"):
        Picture.read("x.png", _one_colour())


def _one_colour() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
