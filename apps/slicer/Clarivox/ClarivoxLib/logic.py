# SPDX-License-Identifier: Apache-2.0
"""Volumes of the scene: to a file for the server, and from its answer. Needs MRML and VTK, no application."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk

MODALITY = "DICOM.Modality"
INSTANCES = "DICOM.instanceUIDs"
SOURCE = "Clarivox.Source"
"""Attribute of a result: the ID of the node that it was made of."""


def volumes(scene):
    """The scalar volumes of a scene that can be enhanced: no label map, and not empty."""
    nodes = [scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode") for n in range(_count(scene))]
    return [node for node in nodes if not node.IsA("vtkMRMLLabelMapVolumeNode") and node.GetImageData() is not None]


def _count(scene):
    return scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")


def saved(node, folder):
    """Write a volume as NRRD, with its grid and its stored type, and give the path.

    The name is ours: a node's name may tell who the patient is.
    """
    path = str(Path(folder, "volume.nrrd"))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    storage.SetUseCompression(1)
    if not storage.WriteData(node):
        raise OSError("the volume cannot be written to a temporary file")
    return path


def loaded(path, source, name):
    """A new volume from a file, shown as its source is: the same window, table and transform.

    Args:
        path: an NRRD or NIfTI file.
        source: the volume that the file was made of.
        name: of the new node.
    """
    scene = source.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    if not storage.ReadData(node):
        scene.RemoveNode(node)
        raise OSError("the server's answer cannot be read as a volume")
    shown_like(node, source)
    return node


def shown_like(node, source):
    """Give a volume the window, the colours and the transform of another, and say what it was made of."""
    scene = source.GetScene()
    display = slicer.vtkMRMLScalarVolumeDisplayNode()
    scene.AddNode(display)
    own = source.GetScalarVolumeDisplayNode()
    if own is not None:
        display.SetAutoWindowLevel(0)
        display.SetWindowLevel(own.GetWindow(), own.GetLevel())
        display.SetInterpolate(own.GetInterpolate())
        display.SetAndObserveColorNodeID(own.GetColorNodeID())
    else:
        display.SetAutoWindowLevel(1)
    node.SetAndObserveDisplayNodeID(display.GetID())
    node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    if source.GetAttribute(MODALITY):
        node.SetAttribute(MODALITY, source.GetAttribute(MODALITY))
    node.SetAttribute(SOURCE, source.GetID())


def same_grid(one, other):
    """Whether two volumes have the same voxels in the same place."""
    if one.GetImageData().GetDimensions() != other.GetImageData().GetDimensions():
        return False
    return np.allclose(matrix_of(one), matrix_of(other), atol=1e-5)


def matrix_of(node):
    """Index to millimetres in RAS, 4 x 4."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def difference(before, after):
    """A new volume, after minus before, in colours around 0; None where the grids differ, as after super-resolution."""
    if not same_grid(before, after):
        return None
    scene = after.GetScene()
    name = scene.GenerateUniqueName(after.GetName() + " difference")
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    matrix = vtk.vtkMatrix4x4()
    after.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    change = slicer.util.arrayFromVolume(after).astype(np.float32) - slicer.util.arrayFromVolume(before)
    slicer.util.updateVolumeFromArray(node, change)
    shown_like(node, after)
    limit = float(np.percentile(np.abs(change), 99.5)) or 1.0
    display = node.GetScalarVolumeDisplayNode()
    display.SetAutoWindowLevel(0)
    display.SetWindowLevel(2 * limit, 0.0)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeFileDivergingBlueRed.txt")
    return node


def fitting(bundles, node):
    """The bundles that take a volume: those of its modality and those of any; all where it does not say its own."""
    modality = node.GetAttribute(MODALITY) if node is not None else None
    return [one for one in bundles if not modality or not one["modalities"] or modality in one["modalities"]]


def dicom_files(node, file_of):
    """The DICOM files that a volume was loaded from, or none where one of them is not at hand.

    Args:
        node: a volume.
        file_of: gives the path of an instance by its UID, as `slicer.dicomDatabase.fileForInstance`.
    """
    uids = (node.GetAttribute(INSTANCES) or "").split()
    files = [file_of(uid) for uid in uids]
    return files if files and all(path and Path(path).exists() for path in files) else []


def options_of(bundle):
    """Rows for a form: name, kind (choice, number, switch, text), choices, default and words of each option."""
    rows = []
    for name, schema in sorted((bundle.get("options") or {}).get("properties", {}).items()):
        parts = schema.get("anyOf", [schema])
        choices = [value for part in parts for value in part.get("enum", ())]
        kinds = {part.get("type") for part in parts}
        if all("enum" in part for part in parts):
            kind = "choice"
        elif kinds == {"boolean"}:
            kind = "switch"
        else:
            kind = "number" if kinds <= {"number", "integer"} else "text"
        rows.append((name, kind, choices, schema.get("default"), schema.get("description", "")))
    return rows
