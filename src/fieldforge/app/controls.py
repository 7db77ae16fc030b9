"""The controls of a page: what a visitor asks for, how far it is, and the samples so far."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import viser
from PIL import Image

from fieldforge.app.archive import Kept
from fieldforge.app.start import Start
from fieldforge.app.wish import MOST_GUIDANCE, Picture, Wish
from fieldforge.rendering.bitmaps import flatten

ANY = "(any)"
THUMBNAIL = 160  # pixels


class Controls:
    """viser's controls for one visitor.

    Attributes:
        make, stop, download: buttons.
        turn: whether the shape turns.
        picture: that was sent.
    """

    def __init__(self, gui: viser.GuiApi, start: Start):
        self._gui = gui
        self._entries: list[viser.GuiFolderHandle] = []
        self.picture: Picture | None = None
        gui.add_markdown(f"**{start.title}**")
        self._add_conditions(start)
        self._guidance = None
        if start.guidance is not None:
            self._guidance = gui.add_slider("Guidance", 0.0, MOST_GUIDANCE, 0.5, start.guidance)
        self._steps = gui.add_slider("Steps", 1, start.max_steps, 1, start.wish.steps)
        self._seed = gui.add_number("Seed", start.wish.seed, min=0, step=1)
        self.make = gui.add_button("Make", color="blue")
        self.stop = gui.add_button("Stop", disabled=True, color="gray")
        self._bar = gui.add_progress_bar(0.0, visible=False)
        self._status = gui.add_markdown("")
        self._image = gui.add_image(np.zeros((1, 1, 3), np.uint8), visible=False)
        self.turn = gui.add_checkbox("Turn", True)
        self.download = gui.add_button("Download", disabled=True, color="gray")
        self._history = gui.add_folder("History")

    def _add_conditions(self, start: Start) -> None:
        gui, understood = self._gui, start.understood
        self._prompt = gui.add_text("Prompt", start.wish.caption or "") if "caption" in understood else None
        self._class = None
        if "class" in understood:
            chosen = start.wish.class_name or ANY
            self._class = gui.add_dropdown("Class", (ANY, *start.classes), initial_value=chosen)
        self.send = self.forget = None
        if "image" in understood:
            self.send = gui.add_upload_button("Picture", mime_type="image/*", color="gray")
            self._given = gui.add_image(np.zeros((1, 1, 3), np.uint8), visible=False)
            self.forget = gui.add_button("Without the picture", visible=False, color="gray")

    def wish(self) -> Wish:
        """What the controls say; it is not checked yet."""
        chosen = None if self._class is None or self._class.value == ANY else self._class.value
        return Wish(
            None if self._prompt is None else self._prompt.value,
            chosen,
            self.picture,
            None if self._guidance is None else float(self._guidance.value),
            int(self._steps.value),
            int(self._seed.value),
        )

    def take_picture(self, picture: Picture | None) -> None:
        """Keep a picture for the next wishes; None: forget it."""
        assert self.forget is not None
        self.picture = picture
        if picture is not None:
            self._given.image = _pixels(Image.fromarray(picture.pixels, "RGBA"))
            self._given.label = picture.name
        self._given.visible = self.forget.visible = picture is not None

    def say(self, sentence: str) -> None:
        """Show a sentence as plain text: it may hold words of others."""
        self._status.content = "".join(f"\\{letter}" if letter in MARKS else letter for letter in sentence)

    def advance(self, count: int, total: int) -> None:
        """Show how far a sample is."""
        self._bar.value = 100.0 * count / total  # type: ignore[misc]  # viser sets what it declares read-only
        self.say(f"Denoised {count} of {total} times")

    def set_busy(self, busy: bool) -> None:
        """Whether a wish waits or is fulfilled."""
        self.make.disabled, self.stop.disabled = busy, not busy
        self._bar.visible, self._bar.value = busy, 0.0  # type: ignore[misc]

    def show_image(self, picture: Image.Image | None) -> None:
        """Show a picture, of what is no shape; None: none."""
        if picture is not None:
            self._image.image = np.asarray(flatten(picture))
        self._image.visible = picture is not None

    def list_sample(self, kept: Kept, number: int, most: int, chosen: Callable[[Kept, str], None]) -> None:
        """Put a sample at the top of the history, which has `most` at most; `chosen` gets what is clicked of it."""
        facts = ", ".join(f"{name} {value}" for name, value in kept.exhibit.facts.items())
        with self._history:
            entry = self._gui.add_folder(None, order=-number)
        with entry:
            self._gui.add_image(_pixels(kept.exhibit.poster), label=f"{kept.exhibit.prompt[:60]}, {facts}")
            buttons = self._gui.add_button_group("", ("Show", "Download"))
        buttons.on_click(lambda event: chosen(kept, event.target.value))
        self._entries.append(entry)
        while len(self._entries) > most:
            self._entries.pop(0).remove()


MARKS = "\\`*_{}[]()#+-.!|<>~&$"
"""What Markdown reads as more than a letter."""


def _pixels(picture: Image.Image) -> np.ndarray:
    small = flatten(picture)
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(small)
