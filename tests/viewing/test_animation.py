"""A picture is animated in FiftyOne by a run of clips."""

from PIL import Image
from tests.domains.test_clip_latent import place, trained, words  # noqa: F401 (fixtures)

from fieldforge.viewing.run_choice import runs_below

URI = "@fieldforge/generation"


def test_a_picture_becomes_a_clip_with_the_nearest_training_clip(library, trained, place, tmp_path):  # noqa: F811
    import fiftyone.operators as foo

    run, outputs = str(trained["diffusion"].path), f"{place}/outputs"
    assert run in [choice.run for choice in runs_below(outputs, "diffusion") if choice.animates]
    Image.new("RGB", (40, 40), (200, 40, 40)).save(tmp_path / "photo.png")
    picture = Image.open(tmp_path / "photo.png")
    picture.paste((255, 255, 255), (0, 0, 40, 12))
    picture.save(tmp_path / "photo.png")
    library.Dataset("any")
    params = {"run": run, "output_dir": outputs, "image": {"absolute_path": str(tmp_path / "photo.png")}, "n": 1}
    params |= {"steps": 2, "elevation": 20.0, "dataset": "clips"}
    done = foo.execute_operator(f"{URI}/animate_picture", {"dataset": "any"}, params=params)
    assert done.result["samples"] == 1
    clips = library.load_dataset("clips")
    (sample,) = clips
    group = clips.get_group(sample.group.id)
    assert {name: one.media_type for name, one in group.items()} == {
        "picture": "image", "prompt": "image", "clip": "video", "nearest": "image", "nearest 2": "video",
    }  # fmt: skip
    assert sample["elevation"] == 20.0
    assert group["clip"].metadata.total_frame_count == 4
    assert sample["nearest_id"] in ("c2", "c3", "c4", "c5"), "of the training split"
