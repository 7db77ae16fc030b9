"""A model, its samples and its shapes without a network: a tetrahedron after a few steps."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from fieldforge.app.archive import Archive
from fieldforge.app.maker import Made
from fieldforge.app.settings import AppSettings
from fieldforge.app.start import Start
from fieldforge.app.wish import Wish
from fieldforge.asking.jobs import jobs
from fieldforge.asking.requests import Request
from fieldforge.errors import UserError
from fieldforge.geometry.colored_mesh import ColoredMesh
from fieldforge.geometry.glb_file import glb_bytes

CORNERS = np.eye(4, 3, dtype=np.float32)
FACES = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]])
SETTINGS = AppSettings("127.0.0.1", 0, visitors=2, waiting=1, max_steps=9, upload_mb=0.1, preview=8, history=2)
START = Start(
    "A ball", frozenset({"caption", "class", "image"}), ["chair", "table"], 3.0, 9, Wish("", None, None, 3.0, 4, 0)
)


def glb(size: float = 1.0) -> bytes:
    return glb_bytes(ColoredMesh(size * CORNERS, FACES, np.abs(CORNERS), CORNERS))


class Tetrahedron:
    """An output."""

    is_empty = False

    def picture(self, size: int) -> Image.Image:
        return Image.new("RGBA", (size, size), "red")

    def media(self) -> tuple[str, bytes]:
        return "model/gltf-binary", glb()

    def write(self, folder: Path, name: str) -> dict[str, str | None]:
        (folder / f"{name}.glb").write_bytes(glb())
        return {"glb": f"{name}.glb"}


class MadeUp:
    """A `Maker` that goes on by one step whenever `go` is released, and shows every one."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.begun = threading.Event()
        self.wishes: list[Wish] = []
        self.failure: Exception | None = None
        generator = SimpleNamespace(check_class=self.check_class, keys={"caption", "class", "image"})
        self.model = SimpleNamespace(
            understood={"caption", "class", "image"}, guided=SimpleNamespace(begins=False, generator=generator)
        )

    def check_class(self, name: str | None) -> None:
        if name not in (None, "chair", "table"):
            raise UserError(f"class={name!r} is not one of this model")

    def __call__(self, wish: Wish, show: Any) -> Made:
        self.wishes.append(wish)
        self.begun.set()
        if self.failure is not None:
            raise self.failure
        for step in range(1, wish.steps + 1):
            self.go.acquire()
            show(step, wish.steps, glb(step / wish.steps))
        request = Request({}, {"caption": wish.caption or "nothing"})
        [job] = jobs([request], [request], wish.seed, wish.seed, 1, 1)
        return Made(Tetrahedron(), job, {"seed": wish.seed})  # type: ignore[arg-type]


def archive(folder: Path) -> Archive:
    return Archive(folder, {"run": "r"}, "a run", folder / "model.ckpt", SETTINGS.history)
