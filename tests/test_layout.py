"""The layout as one table: who may import whom, found by scanning every import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A package may import what stands on a floor below it, never what stands
# above, nor a neighbour on its own floor; and never the libraries named in the last column.
FLOORS: list[tuple[int, tuple[str, ...], tuple[str, ...]]] = [
    (1, ("nas.format", "nas.files", "nas.threads", "nas.pareto", "nas.version"), ("optuna", "ray")),
    (1, ("nas.space",), ("torch", "optuna", "ray")),
    (1, ("nas.data",), ("optuna", "ray")),
    (2, ("nas.progress",), ("torch", "optuna", "ray")),
    (2, ("nas.models",), ("optuna", "ray")),
    (2, ("nas.stopping",), ("torch", "ray")),
    (3, ("nas.training",), ("optuna", "ray")),
    (3, ("nas.samplers",), ("torch", "ray")),
    (4, ("nas.deploy",), ("optuna", "ray")),
    (5, ("nas.study",), ("ray",)),
    (6, ("nas.retrain",), ("ray",)),
    (6, ("nas.api",), ("ray",)),
    (7, ("nas.report",), ("ray",)),
    (8, ("nas.tune",), ()),
    (9, ("nas.cli",), ()),
    (9, ("benchmarks",), ()),
    (10, ("runners",), ()),
]
# A neighbour that may be imported on the same floor, and why.
NEIGHBOURS = {
    ("benchmarks", "nas.cli"),  # its command line shares the options
    ("nas.data", "nas.format"),  # its messages count images and files
}
LIBRARIES = ("torch", "optuna", "ray")
PACKAGES = {name: floor for floor, names, _ in FLOORS for name in names}


def imports(path: Path) -> set[str]:
    """Every module that the file imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def home(name: str) -> str | None:
    """The package of the table that a dotted name belongs to."""
    return next((p for p in PACKAGES if name == p or name.startswith(p + ".")), None)


def modules() -> dict[str, Path]:
    paths = [*(ROOT / "nas").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    paths += (ROOT / "runners").glob("*.py")
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(paths)
    }


MODULES = modules()


def test_every_module_has_a_floor():
    without = {name for name in MODULES if home(name) is None}
    assert without <= {"nas", "nas.__main__"}  # the lazy names of the package, `python -m nas`


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_runs_up_or_to_a_neighbour(package):
    wrong = [
        (name, imported)
        for name, path in MODULES.items()
        if home(name) == package
        for imported in imports(path)
        if (target := home(imported)) not in (None, package)
        and PACKAGES[target] >= PACKAGES[package]
        and (package, target) not in NEIGHBOURS
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("package", "banned"), [(name, banned) for _, names, banned in FLOORS for name in names]
)
def test_no_package_imports_a_library_that_is_not_its_own(package, banned):
    wrong = [
        (name, imported)
        for name, path in MODULES.items()
        if home(name) == package
        for imported in imports(path)
        if imported.split(".")[0] in banned
    ]
    assert wrong == []


def test_no_circle_among_modules():
    """Following imports never leads back, also within a package."""
    edges = {
        name: {
            next(m for m in (imported, imported.rpartition(".")[0]) if m in MODULES)
            for imported in imports(path)
            if imported in MODULES or imported.rpartition(".")[0] in MODULES
        }
        - {name}
        for name, path in MODULES.items()
    }
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("module", ["nas.space.arch", "nas.space.cost", "nas.space.space"])
def test_importing_the_ground_floor_loads_no_heavy_library(module):
    """What the scan cannot see: imports of imports."""
    code = f"import sys, {module}; print({set(LIBRARIES)} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
