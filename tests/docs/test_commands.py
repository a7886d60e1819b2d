"""Every command and example of the README and the tutorial works, with smaller budgets.

So does every Python example of the other pages; of their commands the options are checked.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from documents import (
    DOCUMENTS,
    README,
    ROOT,
    TUTORIAL,
    blocks,
    commands,
    lines,
    program_arguments,
    replaced,
    run,
    run_example,
)
from PIL import Image, ImageOps

from nas.data.image_file import read_pixels

QUICK = {"--budget": "3", "--epochs": "1", "--train-images": "100", "--concurrency": "1"}
SETUP = re.compile(r"python3 -m venv|\. \.venv|pip install")  # run by the tests of the package
PROGRAM = [
    (document, line)
    for document in DOCUMENTS
    for line in commands(document)
    if program_arguments(line)
]
MAKE = [line for document in DOCUMENTS for line in commands(document) if line.startswith("make ")]
EXAMPLES = [
    (document, text)
    for document in DOCUMENTS
    if document != TUTORIAL
    for language, text in blocks(document)
    if language == "python"
]


def options(command: str) -> dict[str, set[str]]:
    """Options of a command by the name of its subcommand, "" where it has none."""
    module = "benchmarks.cli" if command == "benchmark" else f"nas.cli.{command}"
    found = typer.main.get_command(import_module(module).app)
    subcommands = getattr(found, "commands", {"": found})
    return {
        name: {option for parameter in each.params for option in parameter.opts}
        for name, each in subcommands.items()
    }


@pytest.mark.parametrize(("document", "line"), PROGRAM, ids=[line for _, line in PROGRAM])
def test_options_exist(document: Path, line: str) -> None:
    command, arguments = program_arguments(line) or ("", [])
    accepted = options(command)
    subcommand = arguments[0] if command == "benchmark" else ""
    given = {word for word in arguments if word.startswith("--")}
    assert given <= accepted[subcommand], document


def test_named_functions_are_in_their_files() -> None:
    """`file.py: name` and `file.py`, as the pages on how it works write them."""
    files = {path.name: path.read_text() for path in (ROOT / "nas").rglob("*.py")}
    named = [
        found
        for page in (ROOT / "docs/how-it-works").glob("*.md")
        for found in re.findall(r"`(\w+\.py)(?:: (\w+)(?:\.(\w+))?)?`", page.read_text())
    ]
    assert len(named) > 10
    for file, *names in named:
        assert file in files
        for name in filter(None, names):
            assert re.search(rf"(def|class) {name}\b", files[file]), (file, name)


@pytest.mark.parametrize("line", sorted(set(MAKE)))
def test_make_targets_exist(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the spaces and the reference run, as a clone has them."""
    fresh = tmp_path_factory.mktemp("clone")
    for name in ("search_spaces", "results/reference-fashion-mnist"):
        shutil.copytree(ROOT / name, fresh / name)
    return fresh


def retrained(folder: Path, study: str) -> str:
    """The arch_id of a study's retrained network."""
    (description,) = (folder / "results" / study / "retrained").glob("*/arch.json")
    return description.parent.name


@pytest.fixture(scope="module")
def readme(folder: Path) -> Path:
    """The folder once the README's commands have run."""
    for line in commands(README):
        if line.startswith("make search"):
            made = subprocess.run(
                ["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True, text=True
            )
            _, arguments = program_arguments(made.stdout.splitlines()[-1]) or ("", [])
            small = {"--dataset": "digits", "--max-macs": "200K", "--study": "dyclotnet-auto"}
            run(folder, "search", replaced(arguments, QUICK | small))
        else:
            command, arguments = program_arguments(line) or ("", [])
            run(folder, command, replaced(arguments, {"--epochs": "1"}))
    shutil.copy(ROOT / "results/benchmarks/sampler.png", folder / "image.png")
    return folder


def test_readme_commands(readme: Path) -> None:
    study = readme / "results/dyclotnet-auto"
    assert (study / "report.html").exists()
    assert (study / "retrained" / retrained(readme, "dyclotnet-auto") / "metrics.json").exists()


@pytest.mark.parametrize(
    ("document", "code"), EXAMPLES, ids=[document.stem for document, _ in EXAMPLES]
)
def test_examples(readme: Path, document: Path, code: str) -> None:
    run_example(readme, code.replace("ARCH_ID", retrained(readme, "dyclotnet-auto")))


def test_tutorial(folder: Path) -> None:
    """Its commands and examples one after the other."""
    arch_id = "ARCH_ID"
    for language, text in blocks(TUTORIAL):
        if language == "python":
            run_example(folder, text.replace("ARCH_ID", arch_id))
        for line in lines(text) if language == "sh" else ():
            if SETUP.match(line):
                continue
            command, arguments = program_arguments(line) or (line, [])
            if command == "search":
                arguments = replaced(arguments, QUICK | {"--max-macs": "1M"})
            elif command == "retrain":
                arguments = replaced(arguments, {"--epochs": "1"})
            run(folder, command, [word.replace("ARCH_ID", arch_id) for word in arguments])
            if command == "retrain":
                arch_id = retrained(folder, "my-images")
    assert arch_id != "ARCH_ID"


def test_the_tutorial_prepares_an_image_as_training_does(tmp_path: Path) -> None:
    """A photograph of another size that lies on its side, through the lines for the ONNX file."""
    (code,) = [text for _, text in blocks(TUTORIAL) if "onnxruntime.InferenceSession" in text]
    (path,) = re.findall(r'Image\.open\("(.*?)"\)', code)
    prepare = code[code.index("image = ImageOps") : code.index("(logits,)")]
    photograph = tmp_path / "photograph.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 140, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.fromarray(pixels).resize((560, 360)).save(photograph, exif=exif)
    for channels in (1, 3):
        names: dict[str, Any] = {
            "np": np,
            "Image": Image,
            "ImageOps": ImageOps,
            "side": 32,
            "channels": channels,
        }
        exec(prepare.replace(path, str(photograph)), names)
        expected = read_pixels(photograph, 32, channels).pixels
        np.testing.assert_allclose(names["batch"][0] * 255, expected, atol=1e-4)
