"""The rules of the layout, by scanning imports: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "nas").rglob("*.py"))
CORE = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "nas/space").glob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that the file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def importing(files: list[Path], *packages: str) -> list[str]:
    """The files that import one of the packages or something in them."""
    return [
        str(path.relative_to(ROOT))
        for path in files
        for name in imports(path)
        if any(name == package or name.startswith(package + ".") for package in packages)
    ]


def test_the_library_never_imports_the_command_lines():
    assert importing(FILES, "runners") == []


def test_only_tune_and_its_benchmarks_import_ray():
    allowed = ("nas/tune/", "benchmarks/")
    assert [name for name in importing(FILES, "ray") if not name.startswith(allowed)] == []


def test_the_core_imports_neither_torch_optuna_nor_ray():
    assert importing([ROOT / name for name in CORE], "torch", "optuna", "ray") == []


def test_data_moves_one_way():
    """space -> model and cost -> training -> trial -> study -> front."""
    order = ["models", "data", "training", "search"]
    for index, package in enumerate(order):
        files = sorted((ROOT / "nas" / package).rglob("*.py"))
        later = [f"nas.{name}" for name in [*order[index + 1 :], "tune", "report", "benchmarks"]]
        if package == "data":
            later += ["nas.models"]
        assert importing(files, *later) == [], package


@pytest.mark.parametrize("module", ["nas.space.arch", "nas.space.cost", "nas.space.space"])
def test_importing_the_core_loads_neither_torch_optuna_nor_ray(module):
    """What the scan cannot see: imports of imports."""
    code = f"import sys, {module}; print({{'torch', 'optuna', 'ray'}} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
