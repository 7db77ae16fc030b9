"""Letters of labels."""

import numpy as np
import pytest
from PIL import Image

from fieldforge.preparation.contact_sheet import contact_sheet
from fieldforge.rendering.font import label_font
from fieldforge.rendering.sheet import picture_sheet


@pytest.mark.parametrize("letter", "ößéñłøžЖλ…×·")
def test_letters_beyond_ascii_are_drawn(letter: str):
    font = label_font(12)
    drawn, absent = (bytes(font.getmask(text)) for text in (letter, "\ue000"))
    assert any(drawn)
    assert drawn != absent


def test_sheets_tell_letters_with_marks_apart():
    pixels = np.zeros((8, 8, 4), np.uint8)
    picture = Image.new("RGB", (8, 8))
    for draw in (
        lambda name: contact_sheet([(name, pixels)]),
        lambda name: picture_sheet([[picture]], row_labels=[name]),
    ):
        plain, marked, decomposed = (draw(name).convert("RGB").tobytes() for name in ("o", "ö", "o\u0308"))
        assert plain != marked
        assert marked == decomposed
