"""Files of meshes in programs that cannot be installed beside ours; each is named by a variable, else left out.

BLENDER_PYTHON: a Python with `bpy`, which needs an older numpy than ours. GLTF_VALIDATOR: a folder where
`npm install gltf-validator` was run.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.geometry.finished import ball, rgb

from fieldforge.geometry.finishing import finish
from fieldforge.geometry.mesh_files import write_mesh

NAME = "000_a-red-ball_0"
IN_BLENDER = """
import bpy, json, sys
found = {}
for path in sys.argv[1:]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    ending = path.rpartition(".")[2]
    operators = {"glb": bpy.ops.import_scene.gltf, "obj": bpy.ops.wm.obj_import, "ply": bpy.ops.wm.ply_import}
    result = (operators | {"usdz": bpy.ops.wm.usd_import})[ending](filepath=path)
    [shape] = [one for one in bpy.data.objects if one.type == "MESH"]
    nodes = [node for material in shape.data.materials for node in material.node_tree.nodes]
    images = [node.image for node in nodes if node.type == "TEX_IMAGE"]
    surfaces = [node.inputs for node in nodes if node.type == "BSDF_PRINCIPLED"]
    found[ending] = {
        "result": list(result),
        "name": shape.name,
        "faces": len(shape.data.polygons),
        "size": max(shape.dimensions),
        "images": [(image.size[0], image.colorspace_settings.name) for image in images],
        "roughness": [round(inputs["Roughness"].default_value, 3) for inputs in surfaces],
        "metallic": [inputs["Metallic"].default_value for inputs in surfaces],
        "colors": [layer.name for layer in shape.data.color_attributes],
    }
print("FOUND" + json.dumps(found))
"""
IN_NODE = """
const validator = require("gltf-validator"), fs = require("fs");
Promise.all(process.argv.slice(1).map(path => validator.validateBytes(new Uint8Array(fs.readFileSync(path)))))
  .then(reports => console.log(JSON.stringify(reports.map(report => report.issues.messages))));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("files")
    textured = finish(ball(), rgb, faces=600, texture=128, size_cm=45)
    for ending in ("glb", "obj", "ply"):
        write_mesh(textured, place / f"{NAME}.{ending}")
        write_mesh(ball(16), place / f"plain.{ending}")
    return place


@pytest.mark.skipif("BLENDER_PYTHON" not in os.environ, reason="BLENDER_PYTHON names no Python with bpy")
def test_blender_imports_name_size_texture_and_colours(folder):
    pytest.importorskip("pxr", reason="needs usd-core: pip install '.[usd]'")
    write_mesh(finish(ball(), rgb, faces=600, texture=128, size_cm=45), folder / f"{NAME}.usdz")
    found = blender([folder / f"{NAME}.{ending}" for ending in ("glb", "obj", "ply", "usdz")])
    for ending, shape in found.items():
        assert shape["result"] == ["FINISHED"]
        assert shape["name"] == ("_000_a_red_ball_0" if ending == "usdz" else NAME), "USD allows few letters"
        assert 590 <= shape["faces"] <= 600
        assert shape["size"] == pytest.approx(0.45, rel=1e-5)
        if ending == "ply":
            assert len(shape["colors"]) == 1
        else:
            assert (shape["images"], shape["roughness"], shape["metallic"]) == ([[128, "sRGB"]], [0.8], [0.0])
    for ending, shape in blender([folder / f"plain.{ending}" for ending in ("glb", "obj", "ply")]).items():
        assert len(shape["colors"]) == 1, ending


def blender(paths: list[Path]) -> dict:
    command = [os.environ["BLENDER_PYTHON"], "-c", IN_BLENDER, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not any(word in line for line in done.stdout.splitlines() for word in ("Warning", "WARN", "Error", "ERROR"))
    [line] = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    return json.loads(line.removeprefix("FOUND"))


@pytest.mark.skipif("GLTF_VALIDATOR" not in os.environ, reason="GLTF_VALIDATOR names no folder with gltf-validator")
def test_the_validator_of_the_standard_has_nothing_to_say(folder):
    paths = [str(folder / f"{name}.glb") for name in (NAME, "plain")]
    command = ["node", "-e", IN_NODE, *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=os.environ["GLTF_VALIDATOR"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[], []]
