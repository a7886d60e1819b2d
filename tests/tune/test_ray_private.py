"""What is lost where a version of Ray no longer has a private name that this project uses."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest
import ray
from ray.tune.experiment import Trial

ROOT = Path(__file__).parents[2]
NAMES = {
    ("ray._private.utils", "get_num_cpus"): "a container's CPU quota is no longer respected",
    ("ray._private.utils", "set_sigterm_handler"): "SIGTERM while Ray starts exits with 15",
    ("ray._private.worker", "print_to_stdstream"): "Ray prints deaths of workers into --json",
    ("ray._private.ray_constants", "ENABLE_RAY_CLUSTER"): "Ray listens on every interface",
    ("ray._raylet", "AuthenticationTokenLoader"): "a local Ray can be used without a token",
}


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_the_name_is_there(module: str, name: str) -> None:
    told = f"Ray {ray.__version__} has no {module}.{name}: {NAMES[module, name]}"
    assert hasattr(import_module(module), name), told


def test_a_trial_knows_its_actor() -> None:
    trial = Trial("any", stub=True)
    told = f"Ray {ray.__version__}: --trial-timeout cannot find the actor of a trial"
    assert hasattr(trial.temporary_state, "ray_actor"), told


def test_no_other_module_uses_a_private_name_of_ray() -> None:
    users = set()
    for path in [*(ROOT / "nas").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.startswith(("ray._", "ray.")) and "._" in name for name in names):
                users.add(path.relative_to(ROOT).as_posix())
            if isinstance(node, ast.Attribute) and node.attr == "temporary_state":
                users.add(path.relative_to(ROOT).as_posix())
    assert users == {"nas/tune/ray_private.py"}
