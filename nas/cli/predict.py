"""Classify images with a retrained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import OPTIONS, help_option, option, print_json, version_option
from nas.cli.program import announce

HELP = """Classify images with a retrained network.

\b
  nas predict results/STUDY/retrained/ARCH_ID image.png
  nas predict results/STUDY/retrained/ARCH_ID images/*.png --json
  nas predict results/STUDY/retrained/ARCH_ID --device stm32f746
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(help=HELP, no_args_is_help=True, add_help_option=False)
def predict(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The folder of a retrained network.", metavar="MODEL_FOLDER", show_default=False
        ),
    ],
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files.", metavar="IMAGE", show_default=False),
    ] = None,
    device: Annotated[
        str | None,
        option(
            OPTIONS,
            "NAME",
            "Show whether the network fits a device, such as stm32f746, in int8, and the memory "
            "of each layer.",
        ),
    ] = None,
    top: Annotated[
        int, option(OPTIONS, "N", "Classes to print for each image. Default: 3", min=1)
    ] = 3,
    json: Annotated[
        bool, option(OPTIONS, " ", "Print the result as JSON, with every class.", "--json")
    ] = False,
    debug: Annotated[bool, option(OPTIONS, " ", "Show a traceback on errors.", "--debug")] = False,
    version: Annotated[bool, version_option(OPTIONS)] = False,
    help_: Annotated[bool, help_option(OPTIONS)] = False,
) -> int:
    """Predict; the help text is `HELP`."""
    if device is not None:
        if json:
            raise ValueError("--device: with --json; accepted: without --json")
        _show_device(folder, device)
        if not images:
            return 0
    if not images:
        raise ValueError("IMAGE: none; accepted: image files, or --device NAME")
    if not json:
        announce("loading the network")
    from nas.deploy.classifier import load_classifier

    classifier = load_classifier(folder)
    predictions = list(zip(map(str, images), classifier.predict(images), strict=True))
    if json:
        print_json([{"image": image, "probabilities": dict(all_)} for image, all_ in predictions])
        return 0
    for image, classes in predictions:
        best = (f"{name} {100 * share:.1f} %" for name, share in classes[:top])
        print(f"{image}: {', '.join(best)}")
    return 0


def _show_device(folder: Path, name: str) -> None:
    """Print whether the network fits the device, and a bar for the memory of each layer."""
    from nas.report.device_view import describe_fit, memory_lines
    from nas.space.arch import Arch
    from nas.space.devices import find_device
    from nas.training.pretrained import read_description

    device, description = find_device(name), read_description(folder)
    if description.arch is None:
        raise ValueError(
            f"--device: {folder} holds {description.reference}; accepted: a network of a search"
        )
    arch, dataset = Arch.from_dict(description.arch), description.dataset_info()
    for line in (describe_fit(arch, dataset, device), *memory_lines(arch, dataset)):
        print(line)
