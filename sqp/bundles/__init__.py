"""The bundles that come with sqp, by name: `sqp/bundles/NAME/`, each with what else its records need."""

from __future__ import annotations

from pathlib import Path

from sqp.core.errors import ConfigError

HERE = Path(__file__).parent
DEFAULT = "default"
BUNDLES: dict[str, tuple[str, ...]] = {DEFAULT: ("CC-0",), "fast": ("CC-0",)}
"""name -> the licences of all rows that the bundle, or any network behind it, may have been fitted on.

`fast` reads image and mask alone. Both are made by studies/default_bundle.py."""
LARGEST = 20e6
"""Bytes of a bundle, its localizer with it."""


def bundle_folder(model: Path | None) -> Path:
    """The folder of a bundle: that of a name in `BUNDLES`, a folder as it is, the default's where none is given.

    A name counts before a folder of that name (which is `./NAME`). ConfigError where sqp does not ship it yet.
    """
    name = DEFAULT if model is None else str(model)
    if name not in BUNDLES:
        return Path(name)
    folder = HERE / name
    if not (folder / "bundle.json").is_file():
        raise ConfigError(
            f"this sqp comes without the bundle '{name}': train one on your own images (`sqp train`) and give it by "
            "--model DIR"
        )
    return folder
