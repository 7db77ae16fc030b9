"""Pictures of a model's card."""

from pathlib import Path

from PIL import Image

from fieldforge.publishing.card_pictures import card_pictures


def sheet(folder: Path, name: str, color: str) -> Path:
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(folder / "evaluation" / name)
    return folder


def test_sheets_of_model_and_autoencoder_with_one_name_are_both_there(tmp_path):
    model = sheet(tmp_path / "latent" / "1a", "heldout.png", "red")
    sheet(model, "prompts.png", "green")
    other = sheet(tmp_path / "autoencoder" / "2b", "heldout.png", "blue")
    assert card_pictures([model, other]).keys() == {
        "latent_1a_heldout.jpg",
        "autoencoder_2b_heldout.jpg",
        "prompts.jpg",
    }
