"""A part of a shape is completed: its tokens stay, the others are sampled."""

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from tests.security.stranger import command, diffusion_file

from fieldforge.domains.scans import places_anew, read_part, read_scan
from fieldforge.domains.shape import LIMITS
from fieldforge.errors import UserError
from fieldforge.nn.latent_shape import LatentShape
from fieldforge.runs import sample
from fieldforge.runs.sample import run_sampling
from fieldforge.stages.diffusion_stage import load_diffusion

LATTICE = [
    "autoencoder=lattice", "autoencoder.encoder.cells=4", "autoencoder.encoder.width=16",
    "autoencoder.encoder.layers=1", "autoencoder.encoder.channels=4", "autoencoder.field.resolution=8",
    "autoencoder.field.features=4", "autoencoder.decoder.width=16", "autoencoder.decoder.layers=1",
]  # fmt: skip


def ball(radius: float = 0.7, count: int = 2000) -> np.ndarray:
    normals = np.random.default_rng(0).normal(size=(count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals[normals[:, 0] > 0] * radius


def write_ply(path: Path, points: np.ndarray, **columns: np.ndarray) -> Path:
    """Vertices with these columns of one number or a row of numbers each."""
    names = "".join(f"property float {axis}\n" for axis in ["x", "y", "z", *columns])
    rows = np.concatenate([points, *(np.reshape(values, (len(points), 1)) for values in columns.values())], axis=1)
    text = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows)
    path.write_text(f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n{names}end_header\n{text}\n")
    return path


def half(folder: Path) -> Path:
    """The half x > 0 of a ball, with normals."""
    points = ball()
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    return write_ply(folder / "half.ply", points, **dict(zip(("nx", "ny", "nz"), normals.T, strict=True)))


def test_the_tokens_of_the_part_stay_and_the_others_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    run = diffusion_file(tmp_path / "model.ckpt", lambda config: None, *LATTICE)
    drawn: list[torch.Tensor] = []
    monkeypatch.setattr(sample, "draw_all", lambda jobs, drawing, *_: drawn.append(drawing(jobs)))
    part = half(tmp_path)
    words = [f"run={run}", f"from={part}", f"output={tmp_path / 'out'}", "n=2", "steps=2"]
    for more in (["complete=true"], ["complete=true", "strength=0.8"]):
        run_sampling(command("sample", *words, *more))
    autoencoder = load_diffusion(run)[1]
    surface = torch.from_numpy(read_part(part, "from", 64, LIMITS, np.random.default_rng(0)))[None]
    anew = places_anew(surface[0, :, :3], autoencoder.latent_shape)
    assert 0 < (~anew).sum() < len(anew) / 2
    assert not (~anew).view(4, 4, 4)[:2].any()  # x < 0 is missing
    known = autoencoder.encode({"input": surface})[:, ~anew].detach()
    for latents in drawn:
        torch.testing.assert_close(latents[:, ~anew], known.expand(2, -1, -1), atol=1e-5, rtol=1e-5)
        assert (latents[0, anew] - latents[1, anew]).abs().max() > 0.1


def test_a_mesh_is_read_where_it_lies(tmp_path: Path):
    mesh = trimesh.creation.box(extents=(0.4, 0.2, 0.6))
    mesh.apply_translation((0.3, -0.5, 0.0))
    mesh.export(tmp_path / "box.ply")
    surface = read_part(tmp_path / "box.ply", "from", 500, LIMITS, np.random.default_rng(0))
    assert surface.shape == (500, 9)
    np.testing.assert_allclose(surface[:, :3].min(0), [0.1, -0.6, -0.3], atol=0.02)
    np.testing.assert_allclose(np.abs(surface[:, 3:6]).max(1), 1, atol=1e-5)
    assert len(read_scan(tmp_path / "box.ply", "points", LIMITS)) == 8


def test_colours_are_read_where_there_are_some(tmp_path: Path):
    points, columns = ball()[:50], dict.fromkeys(("nx", "ny", "nz"), np.ones(50))
    plain = read_part(write_ply(tmp_path / "a.ply", points, **columns), "from", 60, LIMITS, np.random.default_rng(0))
    assert (plain[:, 6:] == 0.5).all()
    np.testing.assert_allclose(plain[:, 3:6], 3**-0.5, rtol=1e-5)
    columns |= {"red": np.full(50, 0.25), "green": np.zeros(50), "blue": np.ones(50)}
    colored = read_part(write_ply(tmp_path / "b.ply", points, **columns), "from", 60, LIMITS, np.random.default_rng(0))
    np.testing.assert_allclose(colored[0, 6:], [0.25, 0, 1])


def test_normals_that_are_no_numbers_are_a_sentence(tmp_path: Path):
    columns = dict.fromkeys(("nx", "ny", "nz"), np.full(50, np.nan))
    path = write_ply(tmp_path / "a.ply", ball()[:50], **columns)
    with pytest.raises(UserError, match="its vertices have values that are no numbers"):
        read_part(path, "from", 60, LIMITS, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("half", ["complete=true"], "the latents of this model have no places in space"),
        ("bare", ["complete=true"], r"its vertices have no normals \(nx, ny, nz\), which points without faces need"),
        ("none", ["complete=true"], "none.ply: there is no such file"),
        ("whole.glb", ["complete=true"], "whole.glb: a part of a surface is read of a PLY file alone"),
        ("half", ["complete=true", "mask=a.png"], "complete=true completes the part in from=, without a mask"),
        (None, ["complete=true"], "complete=true completes the part in from="),
    ],
)
def test_what_cannot_be_completed_is_a_sentence(tmp_path: Path, name: str | None, words: list[str], sentence: str):
    half(tmp_path)
    write_ply(tmp_path / "bare.ply", ball())
    (tmp_path / "whole.glb").touch()
    run = diffusion_file(tmp_path / "model.ckpt", lambda config: None)
    start = [] if name is None else [f"from={(tmp_path / name).with_suffix(Path(name).suffix or '.ply')}"]
    with pytest.raises(UserError, match=sentence):
        run_sampling(command("sample", f"run={run}", *start, f"output={tmp_path / 'out'}", *words))
    assert not (tmp_path / "out").exists()


def test_boxes_that_hold_few_points_are_made_anew():
    points = torch.tensor([[0.5, 0.5, 0.5]]).repeat(100, 1)
    points[:5] = -0.5
    anew = places_anew(points, LatentShape(8, 4, (2, 2, 2)))
    assert anew.nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]
    with pytest.raises(UserError, match="no places in space"):
        places_anew(points, LatentShape(12, 4, (3, 2, 2)))
