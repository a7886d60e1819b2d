"""What several tests of samplers share."""

from pathlib import Path

import pytest

from nas.space.space import SearchSpace


@pytest.fixture(scope="session")
def full_space():
    return SearchSpace.from_yaml(Path(__file__).parents[2] / "search_spaces" / "dyclotnet.yaml")
