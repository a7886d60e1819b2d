"""The built wheel in an environment of its own, used from another folder."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import pytest
from PIL import Image

import nas

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "nas", "search_spaces")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a fresh environment with the wheel.

    What the package depends on is that of this environment: to install it takes minutes.
    """
    sources = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    pip = (sys.executable, "-m", "pip", "--quiet")
    run(sources, *pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", ".")
    (wheel,) = (sources / "dist").glob("dyclotnet_nas-*.whl")
    home = tmp_path_factory.mktemp("environment")
    venv.create(home)
    run(home, *pip, "--python", home / "bin/python", "install", "--no-deps", wheel)
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin"


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """A command that knows nothing of the source tree."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "NAS_STORAGE")}
    ran = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return ran


def test_the_installed_package_searches_retrains_predicts_and_reports(
    programs: Path, tmp_path: Path
) -> None:
    program = programs / "nas"
    short = ("--epochs", "1", "--train-images", "200", "--concurrency", "1")
    searched = run(
        tmp_path, program, "search", "--budget", 3, "--dataset", "digits", "--space", "tiny", *short
    )
    front = "results/tiny-digits/front.json"
    assert f"{program} retrain {front} --select top:1" in searched.stdout
    retrained = run(
        tmp_path, program, "retrain", front, "--epochs", 1, "--batch-size", 200, "--json"
    )
    (metrics,) = json.loads(retrained.stdout)["metrics"]
    Image.new("L", (8, 8), 255).save(tmp_path / "an image.png")
    told = run(tmp_path, program, "predict", metrics["folder"], "an image.png").stdout
    assert told.startswith("an image.png: ")
    assert told.count("%") == 3
    assert run(
        tmp_path, programs / "python", "-m", "nas", "report", "results/tiny-digits"
    ).stdout.startswith("written: ")


def test_type_checkers_see_the_types(programs: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text("import nas\n\nreveal_type(nas.load_front)\n")
    # Types of other libraries take minutes to read and do not matter here.
    others = ",".join(f"{name}.*" for name in ("torch", "optuna", "numpy", "pandas", "scipy"))
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n[mypy-{others}]\nfollow_imports = skip\n")
    environment = ("--python-executable", programs / "python", "--config-file", "mypy.ini")
    told = run(tmp_path, sys.executable, "-m", "mypy", *environment, "user.py").stdout
    assert "def (path: " in told
    assert "nas.study.front_file.FrontFile" in told


def test_the_first_line_comes_within_a_second(programs: Path, tmp_path: Path) -> None:
    def seconds_to_first_line(words: list[str]) -> float:
        start = time.monotonic()
        with subprocess.Popen(
            [programs / "nas", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            waited = time.monotonic() - start
            process.kill()
        assert line.startswith("nas: reading the ")
        return waited

    for words in (["retrain", "none.json"], ["status", "none"], ["search", "--budget", "0"]):
        # The fastest of some, since other tests keep the machine busy.
        assert min(seconds_to_first_line(words) for _ in range(5)) < 1, words


def test_version_and_help_import_nothing_heavy() -> None:
    code = (
        "import sys, nas.cli.app\n"
        "print(nas.__version__, {'torch', 'optuna', 'ray', 'pandas'} & sys.modules.keys())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == f"{nas.__version__} set()\n"


def test_the_names_of_type_checkers_are_the_lazy_ones() -> None:
    tree = ast.parse((ROOT / "nas/__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == nas._LAZY
    assert all(hasattr(nas, name) for name in nas.__all__)


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {nas.__version__}\n" in (ROOT / "CITATION.cff").read_text()
