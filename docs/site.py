"""Hooks of MkDocs: README and benchmarks join the site, and the API reference is made from the docstrings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ROOMS = {
    "api": "From Python",
    "data": "Cases, images, splits, corruptions",
    "segmenters": "Segmenters",
    "prompts": "Prompters",
    "uncertainty": "Samplers, measures, scores",
    "records": "Record sets",
    "quality": "Quality model, bundle, judging",
    "fit": "Networks that segment",
    "metrics": "Metrics",
    "evaluation": "Evaluation",
    "explain": "Explanation",
    "report": "Figures and pages",
    "integrations": "Other tools",
    "config": "Configs of the commands",
    "core": "Errors, types, geometry",
}
"""The rooms that the reference shows, in its order."""


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside of docs/, and a page of the reference a room."""
    files.append(File.generated(config, "index.md", abs_src_path=str(ROOT / "README.md")))
    files.append(File.generated(config, "security.md", abs_src_path=str(ROOT / "SECURITY.md")))
    for path in sorted((ROOT / "sqp" / "bundles").glob("*/card.md")):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for path in sorted((ROOT / "benchmarks").rglob("*")):
        if path.suffix in {".md", ".png", ".csv"}:
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    listed = [f"- [{title}]({room}.md)" for room, title in ROOMS.items()]
    files.append(File.generated(config, "api/index.md", content="# Reference\n\n" + "\n".join(listed) + "\n"))
    for room, title in ROOMS.items():
        files.append(File.generated(config, f"api/{room}.md", content=reference(room, title)))
    return files


def reference(room: str, title: str) -> str:
    """The page of a room: each of its modules that says something in public."""
    folder = ROOT / "sqp" / room
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return f"# {title}\n\n" + "".join(f"::: {name}\n\n" for name in names)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links between README, docs/ and benchmarks/ as they lie in the site."""
    if page.file.src_uri == "index.md":
        return markdown.replace("](docs/", "](").replace("](SECURITY.md", "](security.md")
    if page.file.src_uri.startswith("benchmarks/"):
        return re.sub(r"\]\(((?:\.\./)+)docs/", r"](\1", markdown)
    return re.sub(r"\]\(\.\./(benchmarks|sqp)/", r"](\1/", markdown)
