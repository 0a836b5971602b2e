"""What `sqp explain` does, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from sqp.config.checks import CommandConfig
from sqp.core.errors import ConfigError

Cam = Literal["grad_cam", "grad_cam_plusplus", "hires_cam", "layer_cam", "eigen_cam"]
Effect = Literal["lowers", "raises"]
Attribution = Literal["input_x_gradient", "integrated_gradients", "occlusion"]


@dataclass
class ExplainConfig(CommandConfig):
    """Show what the quality model looks at, whether that is where the errors are, and what it cannot do without.

    Attributes:
        model: Bundle of a trained quality model: its folder, or the name of one that comes with sqp; default is sqp's
            own, `default`.
        out: Folder of the tables, figures, the report and the interactive embedding.
        records: Record sets; what compares with the truth is left out for records without one.
        split: Split that is explained, or 'all'.
        frozen: Frozen spread sets (configs/spread); of the corrupted records only their members count.
        max_records: Most records, drawn at random; 0 takes all.
        cams: CAMs by name; [] for none. Each has its contact sheet of cases, the first one's branches are drawn by
            input, too.
        layer: Layer of the backbone whose maps make the CAM; auto is the deepest one of at least 8 x 8 cells.
        effect: What a map shows: 'lowers' the predicted quality (where the doubt is), or 'raises' it.
        attribution: Method for the maps of each input group; integrated_gradients and occlusion are captum's.
        checked: Records whose CAMs are tested by deletion, insertion and shuffled weights; 0 for none.
        neighbours: Neighbours of UMAP and of the k-NN regression; 0 for no embedding.
        permute: Measure what is lost when an input is taken from another record.
        cases: Best, worst and most wrong cases that are drawn, of each so many.
        thumbnails: Most records whose picture is shown on the interactive page.
        ood_images: Images of each strange kind that are segmented and judged, to see whether they are noticed; 0 for
            none. It needs the segmenter.
        ood_folders: Folders of further strange images or NIfTI volumes (their middle slices), each a kind of its own.
        checkpoint: File with the segmenter's weights for these, where they are not embedded.
        n_resamples: Bootstrap resamples, by group.
        seed: Seed of everything random.
        batch_size: Records explained at once.
        device: cpu or cuda.
        overwrite: Replace what is already in the folder.
    """

    model: Path | None = None
    out: Path = Path("sqp-explain")
    records: list[Path] = field(default_factory=list)
    split: str = "test"
    frozen: list[Path] = field(default_factory=list)
    max_records: int = 500
    cams: list[Cam] = field(default_factory=lambda: ["grad_cam", "layer_cam"])
    layer: str = "auto"
    effect: Effect = "lowers"
    attribution: Attribution = "input_x_gradient"
    checked: int = 50
    neighbours: int = 15
    permute: bool = True
    cases: int = 4
    thumbnails: int = 500
    ood_images: int = 0
    ood_folders: list[Path] = field(default_factory=list)
    checkpoint: Path | None = None
    n_resamples: int = 2000
    seed: int = 0
    batch_size: int = 32
    device: str = "cpu"
    overwrite: bool = False

    KINDS: ClassVar[dict[str, str]] = {"cams": "CAM"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours == 1:
            raise ConfigError("neighbours is 1; UMAP needs at least 2 (0: no embedding)")
