"""The search spaces that come with the package, known by name.

Their files are in `search_spaces/` at the top of the repository; an installed package holds
copies of them.
"""

from __future__ import annotations

from pathlib import Path

DEFAULT_SPACE = Path("dyclotnet")
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces")


def space_names() -> list[str]:
    """Names of the search spaces that come with the package, sorted."""
    return sorted(path.stem for folder in _FOLDERS for path in folder.glob("*.yaml"))


def space_path(name: str | Path) -> Path:
    """The file of a space that comes with the package, or the path as it is.

    Raises:
        ValueError: `name` is a bare word, and neither a space nor a file has it.
    """
    path = Path(name)
    if path.suffix or len(path.parts) != 1:
        return path
    for folder in _FOLDERS:
        if (file := folder / f"{path}.yaml").is_file():
            return file
    if path.exists():
        return path
    raise ValueError(
        f"space {str(path)[:40]!r}: no such space; accepted: {', '.join(space_names())}, or a "
        "YAML file"
    )
