"""A network that was retrained on the digits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.data import load_search_data, load_test_data
from nas.space.arch import Arch, StageArch
from nas.training import get_recipe
from nas.training.full import retrain

NOWHERE = Path("unused")


@pytest.fixture(scope="session")
def small_arch() -> Arch:
    return Arch(8, (StageArch(16, 2, 1, "dct", 2, 4), StageArch(32, 1, 2, "pointwise", 4, None)))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, small_arch: Arch) -> Path:
    """The folder of the trained network; a test that writes there copies it."""
    folder = tmp_path_factory.mktemp("retrained") / "net"
    data, recipe = load_search_data("digits", NOWHERE), get_recipe("full", epochs=8, batch_size=50)
    test = load_test_data("digits", NOWHERE)
    retrain(small_arch, data, lambda: test, recipe, 0, folder, device=torch.device("cpu"))
    return folder
