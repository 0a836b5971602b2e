"""The bundles that have a name: those that come with sqp (`sqp/bundles/NAME/`), and those that anyone may make.

Each lies with the networks that its records need. studies/default_bundle.py and studies/any_modality.py make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqp.core.errors import ConfigError, unknown_name
from sqp.core.files import cache_dir

HERE = Path(__file__).parent
DEFAULT = "default"
BUNDLES: dict[str, tuple[str, ...]] = {
    DEFAULT: ("CC-0",),
    "fast": ("CC-0",),
    "any": ("CC-0", "CC BY 4.0", "CC BY-SA 4.0"),
}
"""Shipped: name -> the licences of all rows that the bundle, or any network behind it, may have been fitted on.

`fast` compares with one fitted network where `default` takes the mean of two, and judges once instead of under four
symmetries. `any` judges any modality, beside references."""
MEASURED = {DEFAULT: "benchmarks/default_bundle.md", "fast": "benchmarks/default_bundle.md", "any": "benchmarks/any.md"}
"""Shipped: name -> the page of the repository that says how well it does."""
RECIPES: Mapping[str, tuple[str, str]] = {
    "research": ("studies.default_bundle configs/research_bundle.yaml runs/research --referees both", "runs/research"),
    "research-any": (
        "studies.any_modality configs/any.yaml runs/any --only records bundles --parts first second held "
        "--bundles research-any",
        "runs/any",
    ),
}
"""Not shipped, for the licence of the rows behind it: name -> (the recipe, its folder).

It is looked for in `cache_dir()/bundles/NAME`."""
LARGEST = 25e6
"""Bytes of a bundle, its networks with it."""


def bundle_folder(model: Path | None) -> Path:
    """The folder of a bundle: that of a name in `BUNDLES` or `RECIPES`, a folder as it is, the default's without any.

    A name counts before a folder of that name (which is `./NAME`).

    Args:
        model: name or folder.

    Returns:
        The folder, which need not be there if it is no name.

    Raises:
        ConfigError: there is no bundle of this name yet; says how to get it.
    """
    name = DEFAULT if model is None else str(model)
    if name in RECIPES:
        folder = cache_dir() / "bundles" / name
        if not (folder / "bundle.json").is_file():
            recipe, made = RECIPES[name]
            raise ConfigError(
                f"sqp does not bring the bundle '{name}', since its images may not be used commercially: make it in a "
                f"clone of the repository, `python -m {recipe}`, and copy {made}/bundles/{name} to {folder}"
            )
        return folder
    if name not in BUNDLES:
        return Path(name)
    folder = HERE / name
    if not (folder / "bundle.json").is_file():
        raise ConfigError(
            f"this sqp comes without the bundle '{name}': train one on your own images (`sqp train`) and give it by "
            "--model DIR"
        )
    return folder


def check_bundle(model: Path) -> None:
    """ConfigError for what is neither the name of a bundle nor the folder of one; it names the nearest name.

    Args:
        model: name or folder.
    """
    if (bundle_folder(model) / "bundle.json").is_file():
        return
    if not model.exists() and len(model.parts) == 1:
        raise unknown_name("model", str(model), [*BUNDLES, *RECIPES, "or the folder of a bundle"])
    raise ConfigError(f"{model} is no bundle: no bundle.json with model.safetensors; make one with `sqp train`")
