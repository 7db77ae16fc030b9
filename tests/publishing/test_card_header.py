"""The header of a card, as model hubs read it."""

import pytest
import yaml

from fieldforge.publishing.assets import Asset
from fieldforge.publishing.card_header import card_header, licence_of


def assets(*names: str) -> list[Asset]:
    return [Asset("chair", "me", name, "1") for name in names]


def test_one_licence_is_named_and_several_are_linked():
    assert licence_of(assets("CC-BY-4.0", "CC-BY-4.0")) == {"license": "cc-by-4.0"}
    for several in (assets("CC-BY-4.0", "CC0-1.0"), assets("my own"), assets("")):
        assert licence_of(several) == {
            "license": "other", "license_name": "licences-of-the-training-assets", "license_link": "assets.csv"
        }  # fmt: skip


@pytest.mark.parametrize(
    ("medium", "reads", "task"),
    [
        ("3d", {"caption", "image"}, "text-to-3d"),
        ("3d", {"image"}, "image-to-3d"),
        ("3d", {"class"}, None),
        ("image", {"caption"}, "text-to-image"),
        ("image", {"class"}, "unconditional-image-generation"),
        ("video", {"first_frame", "image"}, "image-to-video"),
        ("", {"caption"}, None),
    ],
)
def test_the_task_is_what_is_read_and_what_is_made(medium: str, reads: set[str], task: str | None):
    header = card_header(medium, reads, assets("CC0-1.0"))
    assert header.startswith("---\n")
    content = yaml.safe_load(header.split("---")[1])
    assert content.get("pipeline_tag") == task
    assert "" not in content["tags"]
