"""Names that configs, data, records and commands share, each list in one place; a test holds the tables to them."""

from __future__ import annotations

from typing import Literal, get_args

Split = Literal["segmenter", "train", "calibration", "val", "test", "raters"]

SPLITS: tuple[Split, ...] = get_args(Split)

Layout = Literal["auto", "prepared", "isic", "ham10000", "table", "dicom", "folders"]
Corruption = Literal["erosion", "dilation", "elastic", "blob_add", "blob_cut", "shift", "dropout", "swap"]
Precision = Literal["float32", "bfloat16", "auto"]
Runtime = Literal["auto", "torch", "openvino"]
"""What computes the networks."""
Engine = Literal["local", "ray"]
"""What runs the work: processes of this machine, or a Ray cluster."""
Sampler = Literal["deterministic", "prompt_jitter", "tta", "noise", "mc_dropout", "ensemble", "support_sets"]
TransformSet = Literal["full", "paper"]
DropoutSite = Literal["auto", "own", "decoder", "decoder_image", "neck", "encoder", "convolutions"]
Measure = Literal["certainty", "entropy", "mutual_information", "epkl", "variance"]
Fusion = Literal["mean", "inverse", "exponential", "power_law", "learned"]
Refinement = Literal["crf", "ur_sam_midpoint", "ur_sam_printed", "unc_fpc", "unc_fnc", "unc_fpnc"]
IndependentPrompter = Literal["supervised", "localizer", "otsu", "centre", "whole_image"]
"""Prompters that look at nothing but the image, for a referee; supervised: the box of what a fitted network draws."""
Tool = Literal["coco", "labelstudio", "cvat", "slicer"]
"""Whose files `sqp predict --write` writes."""
RecordKind = Literal["all", "natural"]

SEGMENTERS = (
    *("litemedsam", "mobilesam", "sam_vit_b", "sam_vit_l", "sam_vit_h", "medsam"),
    *("unet", "fpn_resnet50", "fpn", "swin_unet", "unet3d", "unet25d"),
    *("personalised", "pixel_classifier", "universeg", "atlas"),
)
PROMPTERS = (
    *("otsu", "centre", "whole_image", "truth_box", "truth_centroid", "mask_box", "cam", "localizer", "landmarks"),
)
BACKBONES = ("compact", "siamese", "siamese_slip", "tabular", "compact3d", "slices")
"""Of these three the tables are open: whoever uses sqp from Python may add to them."""
TIMM = "timm:"
"""What the name of a backbone begins with that is a model of timm."""
