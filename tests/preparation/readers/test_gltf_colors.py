"""Which colour a glTF gives to its surface: factors, textures, vertex colours, opacity; exact values by side."""

import base64
import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from tests.preparation.make import png
from tests.preparation.readers.gltf_files import (
    LINEAR,
    OPAQUE_SIDES,
    PALETTE,
    SIDES,
    UV,
    Gltf,
    box_scene,
    palette_scene,
    read,
    side_colors,
)

from fieldforge.geometry.color import linear_to_srgb, srgb_to_linear
from fieldforge.readers.file_store import Notes
from fieldforge.readers.gltf.material import uv_matrix

GREY = linear_to_srgb(np.array(0.5)) * 255  # 188


def shaded(factor: tuple[float, ...]) -> dict[str, tuple[int, ...]]:
    """Colours of the sides, multiplied in linear light."""
    colors = {}
    for name, side in SIDES.items():
        light = linear_to_srgb(srgb_to_linear(np.array(side) / 255) * factor[:3])
        colors[name] = (*np.round(light * 255).astype(int).tolist(), 255)
    return colors


def colors_of(gltf: Gltf, folder: Path, notes: Notes | None = None) -> dict[str, tuple[int, ...]]:
    return side_colors(gltf.read(folder, notes))


def one_color(gltf: Gltf, folder: Path, notes: Notes | None = None) -> tuple[int, ...]:
    (color,) = set(colors_of(gltf, folder, notes).values())
    return color


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
@pytest.mark.parametrize("material", [None, {}, {"pbrMetallicRoughness": {}}])
@pytest.mark.parametrize("alpha", [None, 0.0])
def test_vertex_colours(tmp_path: Path, dtype: type, material: dict | None, alpha: float | None):
    colors = LINEAR if alpha is None else np.concatenate([LINEAR, np.full((24, 1), alpha, np.float32)], axis=1)
    stored = colors if dtype is np.float32 else np.round(colors * np.iinfo(dtype).max).astype(dtype)
    gltf = box_scene(material, COLOR_0=stored)
    for flagged in (True, False):  # a writer that forgets the flag means the same
        accessor = gltf.json["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]
        gltf.json["accessors"][accessor]["normalized"] = flagged and dtype is not np.float32
        result = colors_of(gltf, tmp_path)
        tolerance = 12 if dtype is np.uint8 else 0  # the dark ones have few steps of 8 bits in linear light
        for name, color in OPAQUE_SIDES.items():
            np.testing.assert_allclose(result[name], color, atol=tolerance)


def test_vertex_colours_multiply_the_base_colour_in_linear_light(tmp_path: Path):
    colors = np.tile(np.float32([0.5, 0.25, 1]), (24, 1))
    expected = shaded((0.25, 0.25, 0.5))
    gltf = palette_scene(COLOR_0=colors)
    gltf.json["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1, 0.5, 1]
    assert colors_of(gltf, tmp_path) == expected
    plain = box_scene({"pbrMetallicRoughness": {"baseColorFactor": [0.5, 1, 0.5, 1]}}, COLOR_0=colors)
    assert one_color(plain, tmp_path)[:3] == tuple(np.round(linear_to_srgb(np.array([0.25, 0.25, 0.5])) * 255))


def test_without_a_material_all_is_white(tmp_path: Path):
    assert one_color(box_scene(), tmp_path) == (255, 255, 255, 255)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_texture_coordinates_of_every_kind(tmp_path: Path, dtype: type):
    stored = UV if dtype is np.float32 else np.round(UV * np.iinfo(dtype).max).astype(dtype)
    gltf = palette_scene(TEXCOORD_0=stored)
    accessor = gltf.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]
    gltf.json["accessors"][accessor]["normalized"] = dtype is not np.float32
    assert colors_of(gltf, tmp_path) == OPAQUE_SIDES


def test_quantised_coordinates_under_a_transform(tmp_path: Path):
    """As gltfpack writes them: 12 bits of 16, and a scale that makes up for it."""
    stored = np.round(UV * 4095).astype(np.uint16)
    transform = {"scale": [65535 / 4095] * 2}
    gltf = palette_scene({"extensions": {"KHR_texture_transform": transform}}, TEXCOORD_0=stored)
    accessor = gltf.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]
    gltf.json["accessors"][accessor]["normalized"] = True
    assert colors_of(gltf, tmp_path) == OPAQUE_SIDES


def test_the_set_of_coordinates_that_the_texture_names(tmp_path: Path):
    wrong = np.full_like(UV, 0.99)
    assert colors_of(palette_scene({"texCoord": 1}, TEXCOORD_0=wrong, TEXCOORD_1=UV), tmp_path) == OPAQUE_SIDES
    over = {"texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 2}}}
    gltf = palette_scene(over, TEXCOORD_0=wrong, TEXCOORD_2=UV)
    assert colors_of(gltf, tmp_path) == OPAQUE_SIDES
    notes = Notes([])
    assert one_color(palette_scene({"texCoord": 3}), tmp_path, notes) == (255, 255, 255, 255)
    assert "TEXCOORD_3" in notes.texts[0]


@pytest.mark.parametrize(
    ("transform", "uv", "expected"),
    [
        ({"offset": [0.25, 0.5]}, (0.1, 0.2), (0.35, 0.7)),
        ({"scale": [2, 3]}, (0.1, 0.2), (0.2, 0.6)),
        ({"rotation": np.pi / 2}, (0.1, 0.2), (0.2, -0.1)),  # counter-clockwise as v points down
        ({"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}, (1, 0.5), (0.25, 0.5)),  # specification
        ({"offset": [1, 1], "rotation": np.pi / 2, "scale": [2, 3]}, (0.1, 0.2), (1.6, 0.8)),
        ({}, (0.1, 0.2), (0.1, 0.2)),
    ],
)
def test_texture_transforms(transform: dict[str, Any], uv: tuple[float, float], expected: tuple[float, float]):
    matrix = uv_matrix(transform)
    np.testing.assert_allclose(matrix[:, :2] @ uv + matrix[:, 2], expected, atol=1e-12)


def test_a_transform_moves_the_colours(tmp_path: Path):
    gltf = palette_scene({"extensions": {"KHR_texture_transform": {"offset": [1 / 6, 0]}}})
    colors = list(OPAQUE_SIDES.values())
    assert list(colors_of(gltf, tmp_path).values()) == [*colors[1:], colors[0]]


@pytest.mark.parametrize(("wrap", "column"), [(10497, 0), (33071, 5), (33648, 5)])
def test_wrap_modes(tmp_path: Path, wrap: int, column: int):
    gltf = palette_scene({}, {"sampler": 0}, TEXCOORD_0=np.tile(np.float32([1.08, 0.5]), (24, 1)))
    gltf.add("samplers", {"wrapS": wrap})
    assert one_color(gltf, tmp_path) == list(OPAQUE_SIDES.values())[column]


def test_pictures_of_few_texels_keep_sharp_edges_where_the_sampler_says_so(tmp_path: Path):
    near_the_border = np.tile(np.float32([0.49, 0.5]), (24, 1))
    pixels = np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8)
    for filtering, expected in ((9728, (255, 0, 0, 255)), (9729, (133, 122, 0, 255))):
        gltf = Gltf()
        gltf.add("samplers", {"magFilter": filtering})
        material = {"pbrMetallicRoughness": {"baseColorTexture": {"index": gltf.texture(pixels, sampler=0)}}}
        primitive = gltf.primitive(TEXCOORD_0=near_the_border, material=gltf.add("materials", material))
        assert one_color(gltf.scene(gltf.node(gltf.mesh(primitive))), tmp_path) == expected


def test_specular_glossiness(tmp_path: Path):
    factor = {"diffuseFactor": [0.5, 0, 0, 1]}
    material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": factor}}
    assert one_color(box_scene(material), tmp_path) == (round(float(GREY)), 0, 0, 255)
    gltf = palette_scene()
    base = gltf.json["materials"][0].pop("pbrMetallicRoughness")["baseColorTexture"]
    gltf.json["materials"][0]["extensions"] = {
        "KHR_materials_pbrSpecularGlossiness": {"diffuseTexture": base, "diffuseFactor": [1, 0.5, 1, 1]}
    }
    gltf.json["extensionsRequired"] = ["KHR_materials_pbrSpecularGlossiness"]
    assert colors_of(gltf, tmp_path) == shaded((1, 0.5, 1))


@pytest.mark.parametrize(("specular", "expected"), [([1, 0.5, 0], (255, 188, 0, 255)), ([0.04] * 3, (0, 0, 0, 255))])
def test_a_specular_glossiness_metal_has_the_colour_that_it_reflects(tmp_path: Path, specular: list, expected: tuple):
    factors = {"diffuseFactor": [0, 0, 0, 1], "specularFactor": specular}
    material = {"extensions": {"KHR_materials_pbrSpecularGlossiness": factors}}
    assert one_color(box_scene(material), tmp_path) == expected


def test_metal_in_places_of_a_specular_glossiness_texture(tmp_path: Path):
    """The sides +x, -x and +y are metal, in the coarser texture of what they reflect; the others are paint."""
    painted, mirror = PALETTE.copy(), np.full((2, 6, 3), 50, np.uint8)
    painted[:, :24] = 0
    mirror[:, :3] = PALETTE[:2, 4:24:8]
    gltf = Gltf()
    gloss = {"diffuseTexture": {"index": gltf.texture(painted)}}
    gltf.add("textures", {"source": gltf.add("images", {"bufferView": gltf.view(png(mirror))})})
    gloss["specularGlossinessTexture"] = {"index": 1}
    material = gltf.add("materials", {"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}})
    gltf.scene(gltf.node(gltf.mesh(gltf.primitive(TEXCOORD_0=UV, material=material))))
    for name, color in colors_of(gltf, tmp_path).items():
        np.testing.assert_allclose(color, OPAQUE_SIDES[name], atol=12)  # between the texels of the coarser one


BLACK = {"pbrMetallicRoughness": {"baseColorFactor": [0, 0, 0, 1]}}


@pytest.mark.parametrize("base", [BLACK, {}, {"pbrMetallicRoughness": {"metallicFactor": 0}}])
def test_what_only_emits_has_the_colour_that_it_emits(tmp_path: Path, base: dict[str, Any]):
    grey = round(float(GREY))
    assert one_color(box_scene({**base, "emissiveFactor": [1, 0.5, 0]}), tmp_path) == (255, grey, 0, 255)
    strong = {"KHR_materials_emissive_strength": {"emissiveStrength": 8}}
    bright = {**base, "emissiveFactor": [0.5, 0.25, 0], "extensions": strong}
    assert one_color(box_scene(bright), tmp_path) == (255, grey, 0, 255)  # too bright, of the same hue
    gltf = palette_scene()
    info = gltf.json["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]
    gltf.json["materials"][0] = {**base, "emissiveTexture": info, "emissiveFactor": [1, 1, 1]}
    assert colors_of(gltf, tmp_path) == OPAQUE_SIDES
    gltf.json["materials"][0]["emissiveFactor"] = [0, 0, 0]
    assert one_color(gltf, tmp_path) == ((0, 0, 0, 255) if base is BLACK else (255, 255, 255, 255))


def test_what_also_emits_keeps_its_base_colour(tmp_path: Path):
    gltf = palette_scene()
    gltf.json["materials"][0]["emissiveFactor"] = [0, 0, 1]
    assert colors_of(gltf, tmp_path) == OPAQUE_SIDES
    assert colors_of(box_scene({"emissiveFactor": [0, 0, 1]}, COLOR_0=LINEAR), tmp_path) == OPAQUE_SIDES


@pytest.mark.parametrize("name", ["KHR_materials_unlit", "KHR_materials_variants", "KHR_materials_transmission"])
def test_extensions_that_leave_the_base_colour_as_it_is(tmp_path: Path, name: str):
    gltf = palette_scene()
    gltf.json["materials"][0]["extensions"] = {name: {}}
    gltf.json["extensionsRequired"] = [name]
    assert colors_of(gltf, tmp_path) == OPAQUE_SIDES


HALF_CLEAR = np.dstack([PALETTE, np.where(np.arange(48) < 24, 64, 255).astype(np.uint8)[None].repeat(4, axis=0)])


@pytest.mark.parametrize(
    ("mode", "alphas"),
    [
        ({}, [255] * 6),
        ({"alphaMode": "OPAQUE"}, [255] * 6),
        ({"alphaMode": "MASK"}, [0, 0, 0, 255, 255, 255]),  # 0.2 and 0.8 against 0.5
        ({"alphaMode": "MASK", "alphaCutoff": 0.9}, [0] * 6),
        ({"alphaMode": "MASK", "alphaCutoff": 0.1}, [255] * 6),
        ({"alphaMode": "BLEND"}, [51, 51, 51, 204, 204, 204]),
    ],
)
def test_alpha_modes(tmp_path: Path, mode: dict[str, Any], alphas: list[int]):
    gltf = Gltf()
    base = {"baseColorTexture": {"index": gltf.texture(HALF_CLEAR)}, "baseColorFactor": [1, 1, 1, 0.8]}
    material = gltf.add("materials", {"pbrMetallicRoughness": base, **mode})
    gltf.scene(gltf.node(gltf.mesh(gltf.primitive(TEXCOORD_0=UV, material=material))))
    result = colors_of(gltf, tmp_path)
    assert [color[3] for color in result.values()] == alphas
    assert {name: color[:3] for name, color in result.items()} == SIDES


def test_alpha_of_vertex_colours_counts_by_the_mode_of_the_material(tmp_path: Path):
    colors = np.concatenate([LINEAR, np.repeat(np.float32([1, 1, 1, 1, 1, 0.25]), 4)[:, None]], axis=1)
    for mode, alpha in (("OPAQUE", 255), ("MASK", 0), ("BLEND", 64)):
        mesh = box_scene({"alphaMode": mode}, COLOR_0=colors).read(tmp_path)
        assert side_colors(mesh) == {**OPAQUE_SIDES, "-z": (*SIDES["-z"], alpha)}
        np.testing.assert_allclose(mesh.face_alpha(), [1] * 10 + [alpha / 255] * 2, atol=0.002)


def with_picture(gltf: Gltf, image: dict[str, Any], **texture: Any) -> Gltf:
    """The palette's picture replaced."""
    gltf.json["images"], gltf.json["textures"] = [image], [texture or {"source": 0}]
    return gltf


PICTURE_NAMES = [
    ("tür 100%.png", "t%C3%BCr%20100%25.png"),
    ("my wood.png", "my%20wood.png"),
    ("my wood.png", "my wood.png"),
    ("as%20it%20reads.png", "as%20it%20reads.png"),
    ("TEX.PNG", "tex.png"),
    ("maps/Tex.png", "Maps/TEX.png"),
    ("maps/tex.png", "maps\\tex.png"),
    ("tex.png", "C:\\models\\tex.png"),
    ("tex.png", "file:///home/me/tex.png"),
]


@pytest.mark.parametrize(("name", "uri"), PICTURE_NAMES)
@pytest.mark.parametrize("packed", [True, False])
def test_pictures_are_found_by_their_uris(tmp_path: Path, name: str, uri: str, packed: bool):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(png(PALETTE))
    gltf, notes = with_picture(palette_scene(), {"uri": uri}), Notes([])
    if packed:
        mesh = gltf.read(tmp_path, notes)
    else:
        (tmp_path / "box.bin").write_bytes(gltf.binary)
        mesh = read(tmp_path, gltf.text(uri="box.bin"), notes, "a.gltf")
    assert side_colors(mesh) == OPAQUE_SIDES
    assert notes.texts == []


def test_names_in_the_encoding_of_a_system(tmp_path: Path):
    (tmp_path / "tür.png").write_bytes(png(PALETTE))
    gltf, notes = with_picture(palette_scene(), {"uri": "t@r.png", "name": "t@r"}), Notes([])
    assert side_colors(read(tmp_path, gltf.glb().replace(b"t@r", b"t\xfcr"), notes)) == OPAQUE_SIDES
    gltf, notes = with_picture(palette_scene(), {"uri": "n@r.png"}), Notes([])
    read(tmp_path, gltf.glb().replace(b"n@r", b"n\xfcr"), notes)
    notes.texts[0].encode()


def test_everything_in_data_uris(tmp_path: Path):
    gltf = palette_scene()
    for head, body in (
        ("data:image/png;base64,", base64.b64encode(png(PALETTE)).decode()),
        ("data:;base64,", base64.b64encode(png(PALETTE)).decode().rstrip("=")),
        ("DATA:image/png,", quote(png(PALETTE))),
    ):
        with_picture(gltf, {"uri": head + body})
        packed = base64.b64encode(gltf.binary).decode()
        text = gltf.text(uri=f"data:application/octet-stream;base64,{packed}")
        assert side_colors(read(tmp_path, text, name="a.gltf")) == OPAQUE_SIDES


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PALETTE).save(buffer, kind, lossless=True)
    return buffer.getvalue()


def test_webp_and_what_stands_in_for_it(tmp_path: Path):
    (tmp_path / "a.webp").write_bytes(encoded("WEBP"))
    (tmp_path / "a.png").write_bytes(png(PALETTE))
    (tmp_path / "a.ktx2").write_bytes(b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(80))
    images = [{"uri": "a.webp"}, {"uri": "a.png"}, {"uri": "a.ktx2"}, {"uri": "lost.webp"}]
    gltf = palette_scene()
    gltf.json["images"] = images
    webp, basis = "EXT_texture_webp", "KHR_texture_basisu"
    for texture in (
        {"source": 0},
        {"extensions": {webp: {"source": 0}}},
        {"source": 1, "extensions": {basis: {"source": 2}}},
        {"source": 1, "extensions": {webp: {"source": 3}}},
    ):
        gltf.json["textures"], notes = [texture], Notes([])
        assert colors_of(gltf, tmp_path, notes) == OPAQUE_SIDES
        assert notes.texts == []
    gltf.json["extensionsRequired"] = [basis]
    gltf.json["textures"], notes = [{"extensions": {basis: {"source": 2}}}], Notes([])
    assert one_color(gltf, tmp_path, notes) == (255, 255, 255, 255)
    assert "a.ktx2" in notes.texts[0]
    assert "KTX2" in notes.texts[0]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"uri": "lost.png"}, "'lost.png' is missing"),
        ({"uri": "lost%20t%C3%BCr.png"}, "'lost tür.png' is missing"),
        ({"uri": "https://example.org/tex.png"}, "'https://example.org/tex.png' is missing"),
        ({"uri": "broken.png"}, "'broken.png': the texture cannot be read"),
        ({"uri": "data:image/png;base64,AAAA", "name": "wood"}, "'wood': the texture cannot be read"),
        ({"uri": "data:image/png"}, "without data"),
        ({"bufferView": 99}, "99"),
        ({}, "'images[0]' is missing"),
    ],
)
def test_a_lost_picture_is_noted_and_the_factor_stays(tmp_path: Path, image: dict[str, Any], words: str):
    (tmp_path / "broken.png").write_bytes(png(PALETTE)[:60])
    gltf, notes = with_picture(palette_scene(), image), Notes([])
    gltf.json["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0, 1, 0, 1]
    assert one_color(gltf, tmp_path, notes) == (0, 255, 0, 255)
    (note,) = notes.texts
    assert words in note


def test_a_picture_of_several_materials_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gltf = palette_scene()
    red = {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "baseColorFactor": [1, 0, 0, 1]}}
    second = gltf.primitive(TEXCOORD_0=UV, material=gltf.add("materials", red))
    gltf.json["meshes"][0]["primitives"].append(second)
    gltf.json["scenes"][0]["nodes"] += [gltf.node(0, translation=[5 * copy, 0, 0]) for copy in range(1, 4)]
    mesh = gltf.read(tmp_path)
    assert len(mesh.materials) == 2
    assert mesh.materials[0].texture is mesh.materials[1].texture


def test_numbers_that_are_none_are_noted(tmp_path: Path):
    notes = Notes([])
    colors, uv = LINEAR.copy(), UV.copy()
    colors[0], uv[4] = np.nan, np.inf
    mesh = palette_scene(TEXCOORD_0=uv, COLOR_0=colors).read(tmp_path, notes)
    result = mesh.color_at(np.arange(12), np.full((12, 3), 1 / 3))
    assert np.isfinite(result).all()
    assert len(notes.texts) == 2
