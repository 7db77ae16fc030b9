"""USDZ of a mesh, as phones and desktops show it without a program: a zip of a USD stage and its texture.

Written by Pixar's own library, which is an extra and imported where it is needed.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from fieldforge.geometry.color import srgb_to_linear
from fieldforge.geometry.colored_mesh import ROUGHNESS, ColoredMesh, is_closed
from fieldforge.geometry.textured_mesh import TexturedMesh

TEXTURE = "texture.png"


def usdz_bytes(mesh: ColoredMesh, name: str) -> bytes:
    """USDZ file in metres, y up; the object's display name is `name`, its path the same in letters that USD allows."""
    from pxr import Sdf, Tf, Usd, UsdGeom, UsdUtils

    path = "/" + Tf.MakeValidIdentifier(f"_{name}" if name[0].isdigit() else name)  # else it would replace the digit
    with TemporaryDirectory() as folder:
        if isinstance(mesh, TexturedMesh):
            Path(folder, TEXTURE).write_bytes(mesh.png())
        stage = Usd.Stage.CreateNew(f"{folder}/shape.usdc")
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, path).GetPrim()
        root.SetDisplayName(name)
        stage.SetDefaultPrim(root)
        if not mesh.is_empty:
            _add_mesh(stage, mesh, path)
        stage.Save()
        package = f"{folder}/shape.usdz"
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(f"{folder}/shape.usdc"), package):
            raise OSError(f"the USD library has not written {package}")
        return Path(package).read_bytes()


def _add_mesh(stage: Any, mesh: ColoredMesh, root: str) -> None:
    from pxr import Sdf, UsdGeom, UsdShade, Vt

    shape = UsdGeom.Mesh.Define(stage, root + root)  # programs call an object by the last part
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.vertices))
    shape.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.astype(np.int32).reshape(-1)))
    shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.normals))
    shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreateDoubleSidedAttr(not is_closed(mesh.faces))
    shape.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)])))
    primvars = UsdGeom.PrimvarsAPI(shape)
    if isinstance(mesh, TexturedMesh):
        values = Vt.Vec2fArray.FromNumpy(mesh.corner_uv.reshape(-1, 2))
        primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying).Set(values)
    else:
        colors = Vt.Vec3fArray.FromNumpy(srgb_to_linear(mesh.colors).astype(np.float32))
        shape.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(colors)
    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(_material(stage, root, isinstance(mesh, TexturedMesh)))


def _material(stage: Any, root: str, textured: bool) -> Any:
    """A preview surface whose diffuse colour is the texture's, or that of the vertices."""
    from pxr import Sdf, UsdShade

    types = Sdf.ValueTypeNames

    def shader(name: str, kind: str, **inputs: Any) -> Any:
        made = UsdShade.Shader.Define(stage, f"{root}/material/{name}")
        made.CreateIdAttr(kind)
        for key, (form, value) in inputs.items():
            made.CreateInput(key, form).Set(value)
        return made

    material = UsdShade.Material.Define(stage, f"{root}/material")
    surface = shader("surface", "UsdPreviewSurface", roughness=(types.Float, ROUGHNESS), metallic=(types.Float, 0.0))
    material.CreateSurfaceOutput().ConnectToSource(surface.ConnectableAPI(), "surface")
    if textured:
        place = shader("coordinates", "UsdPrimvarReader_float2", varname=(types.String, "st"))
        edges = {side: (types.Token, "clamp") for side in ("wrapS", "wrapT")}
        source = {"file": (types.Asset, f"./{TEXTURE}"), "sourceColorSpace": (types.Token, "sRGB")}
        color = shader("texture", "UsdUVTexture", **source, **edges)
        color.CreateInput("st", types.Float2).ConnectToSource(place.CreateOutput("result", types.Float2))
        output = color.CreateOutput("rgb", types.Float3)
    else:
        color = shader("colors", "UsdPrimvarReader_float3", varname=(types.String, "displayColor"))
        output = color.CreateOutput("result", types.Float3)
    surface.CreateInput("diffuseColor", types.Color3f).ConnectToSource(output)
    return material
