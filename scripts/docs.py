"""What `make docs` makes pages of, for mkdocs.yml: a hook that MkDocs calls before it builds.

The repository's own pages stay where they are, so that their links hold; the manual and the API are
those of a bake with everything. The API is read from the sources: TensorFlow is not needed.
"""

import shutil
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

from demo import bake_into

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache" / "docs"

OWN = ("README.md", "README.ja.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs")


def rooms(package: Path) -> dict[str, list[str]]:
    """Folder of the package, as in "engine.loop" -> the modules in it that say what they are."""
    found: dict[str, list[str]] = {}
    for file in sorted(package.rglob("*.py")):
        folder, module = file.relative_to(package.parent).parent, file.stem
        if module != "__init__" and file.read_text("utf-8").startswith('"""'):
            room = ".".join(folder.parts[1:]) or "commands"
            found.setdefault(room, []).append(".".join([*folder.parts, module]))
    return found


def write_pages(pages: Path) -> list[dict[str, str]]:
    """Writes all pages into a new folder; returns those of the API for the navigation."""
    for name in OWN:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, pages / name)
    project = bake_into(str(WORK), examples="all", many_machines="yes")
    shutil.copytree(project / "docs", pages / "manual")
    package = project / project.name
    shutil.copy(package / "engine" / "README.md", pages / "manual" / "engine.md")
    navigation = []
    found = rooms(package)
    for room in sorted(found, key=lambda room: (room.startswith("engine"), room)):
        page = pages / "api" / f"{room}.md"
        page.parent.mkdir(exist_ok=True)
        page.write_text("\n\n".join([f"# {room}", *(f"::: {name}" for name in found[room])]) + "\n")
        navigation.append({room: f"api/{page.name}"})
    return navigation


@event_priority(100)  # before the plugin that looks for the sources
def on_config(config: Any) -> None:
    """MkDocs calls this once its settings are read."""
    shutil.rmtree(WORK, ignore_errors=True)
    pages = Path(config["docs_dir"])
    pages.mkdir(parents=True)
    (api,) = (part["API"] for part in config["nav"] if "API" in part)
    api.extend(write_pages(pages))
