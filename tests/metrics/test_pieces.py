import numpy as np
import trimesh

from fieldforge.metrics.pieces import count_pieces


def together(*meshes: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    joined = trimesh.util.concatenate(meshes)
    return joined.vertices, joined.faces


def box(side: float, place: float) -> trimesh.Trimesh:
    return trimesh.creation.box((side,) * 3, trimesh.transformations.translation_matrix((place, 0, 0)))


def test_parts_that_share_vertices_are_one_piece():
    assert count_pieces(*together(box(1, 0))) == 1
    assert count_pieces(*together(box(1, 0), box(1, 3), box(0.5, 6))) == 3
    assert count_pieces(np.zeros((0, 3)), np.zeros((0, 3), int)) == 0


def test_crumbs_do_not_count():
    crumb = 0.07  # 0.49 % of the area of the large one
    assert count_pieces(*together(box(1, 0), box(crumb, 3))) == 1
    assert count_pieces(*together(box(1, 0), box(crumb, 3)), smallest=0.004) == 2


def test_trimesh_finds_the_same_parts():
    rng = np.random.default_rng(0)
    spheres = [trimesh.creation.icosphere(1, 0.3 + rng.random()) for _ in range(5)]
    vertices, faces = together(*(sphere.apply_translation(rng.random(3) * 20) for sphere in spheres))
    parts = trimesh.Trimesh(vertices, faces, process=False).split(only_watertight=False)
    assert count_pieces(vertices, faces) == len(parts) == 5
