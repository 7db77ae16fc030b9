"""Files of samples: what is there when one of them fails."""

import json

import pytest
from PIL import Image

from fieldforge.asking.jobs import jobs
from fieldforge.asking.requests import Request
from fieldforge.asking.sample_files import SampleFiles
from fieldforge.storage.file_names import slug


class Dot:
    """An output that is one colour."""

    is_empty = False

    def picture(self, size):
        return Image.new("RGBA", (size, size), "red")

    def write(self, folder, name):
        (folder / f"{name}.txt").write_text("dot")
        return {"text": f"{name}.txt"}

    def media(self):
        return None


class Glow(Dot):
    """An output with a volume rendering."""

    def write(self, folder, name):
        (folder / f"{name}_radiance.gif").write_bytes(b"GIF8")
        return {"radiance": f"{name}_radiance.gif"}


def test_names_are_letters_and_digits():
    assert slug("A red, *round* ball!") == "a-red-round-ball"
    assert slug("球") == "sample"
    assert len(slug("a" * 100)) == 40


def test_the_page_shows_what_is_there_when_a_batch_fails(tmp_path):
    request = Request({"caption": "a dot"}, {"caption": "a dot"})
    files = SampleFiles(tmp_path, {"run": "r"}, "a run")
    first, second = jobs([request], [request], 4, 4, 2, 1)

    def fails_after_the_first() -> None:
        with files.batch():
            files.add(Dot(), first, {"seed": 4}, tmp_path / "model.ckpt")  # type: ignore[arg-type]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails_after_the_first()
    report = json.loads((tmp_path / "samples.json").read_text())
    assert report["run"] == "r"
    (entry,) = report["samples"]
    assert (entry["caption"], entry["seed"], entry["text"]) == ("a dot", 4, "000_a-dot_4.txt")
    assert (tmp_path / entry["thumbnail"]).is_file()
    with files.batch():
        files.add(Dot(), second, {"seed": 5}, tmp_path / "model.ckpt")  # type: ignore[arg-type]
    assert files.page.read_text().count("<article") == 2


def test_the_page_shows_a_volume_rendering(tmp_path):
    request = Request({}, {})
    files = SampleFiles(tmp_path, {}, "a run")
    with files.batch():
        files.add(Glow(), *jobs([request], [request], 0, 0, 1, 1), {}, tmp_path / "model.ckpt")  # type: ignore[arg-type]
    assert "data:image/gif;base64,R0lGOA==" in files.page.read_text()


def test_whoever_watches_gets_a_sample_once_its_files_are_there(tmp_path):
    request, seen = Request({"caption": "a dot"}, {"caption": "a dot"}), []

    def watch(output, entry, folder):
        seen.append(
            (output, entry["seed"], (folder / entry["text"]).read_text(), (folder / entry["thumbnail"]).is_file())
        )

    files, dot = SampleFiles(tmp_path, {}, "", watch), Dot()
    with files.batch():
        files.add(dot, *jobs([request], [request], 4, 4, 1, 1), {"seed": 4}, tmp_path / "model.ckpt")  # type: ignore
    assert seen == [(dot, 4, "dot", True)]
