"""Masks as annotation tools keep them: COCO, Label Studio, CVAT and 3D Slicer. `cases` makes cases of them.

A reader a file: `read(path) -> list[Annotation]`, nothing decoded before it is asked for. How runs of equal
pixels are written is in `runs`, both ways, since `sqp.integrations` writes them.
"""
