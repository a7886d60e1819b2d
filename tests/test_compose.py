"""`docker-compose.yml` without Docker: the Compose schema, and our own rules."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]


def words(service: dict[str, Any]) -> list[str]:
    """Everything that a service runs, as words of a shell."""
    parts = [*service.get("entrypoint", []), *service.get("command", [])]
    return " ".join(parts).replace("$$", "$").split()


def test_the_file_follows_the_compose_specification() -> None:
    folder = resources.files("check_jsonschema") / "builtin_schemas/vendor"
    schema = json.loads((folder / "compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)
    errors = [error.message for error in validator(schema).iter_errors(COMPOSE)]
    assert errors == []
    wrong = SERVICES["postgres"] | {"healthcheck": {"test": 3}}
    assert list(validator(schema).iter_errors({"services": {"postgres": wrong}}))


def test_ports_are_published_on_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_no_secret_is_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|TOKEN|SECRET|KEY", key)
            assert not secret or str(value).startswith("/run/secrets/"), (name, key)
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), (name, key)
    assert not re.search(r"PASSWORD=[^\"$\s]", TEXT)
    files = {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert all(file.startswith("./secrets/") for file in files)
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_secrets_that_are_read_are_granted() -> None:
    for name, service in SERVICES.items():
        read = set(re.findall(r"/run/secrets/(\w+)", json.dumps(service)))
        assert read == set(service.get("secrets", [])), name
        assert read <= COMPOSE["secrets"].keys()


def test_what_others_wait_for_has_a_health_check() -> None:
    waits = [
        (target, wait)
        for service in SERVICES.values()
        for target, wait in service.get("depends_on", {}).items()
    ]
    assert waits
    for target, wait in waits:
        assert wait == {"condition": "service_healthy"}
        assert SERVICES[target]["healthcheck"]["test"][0] == "CMD"


def test_the_image_holds_what_the_services_run() -> None:
    dockerfile = COMPOSE["x-image"]["build"]["dockerfile_inline"]
    copied = {word for line in re.findall("COPY (.*) ", dockerfile) for word in line.split()}
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert all((ROOT / name).exists() and f"!{name}" in allowed for name in copied)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "postgres" in extras["optional-dependencies"]
    scripts = re.findall(r"runners/\w+\.py", TEXT)
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize("name", [name for name in SERVICES if "ray start" in
                                  " ".join(words(SERVICES[name]))])  # fmt: skip
def test_ray_start_knows_its_options(name: str) -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    command = " ".join(words(SERVICES[name])).split("ray start ")[1].split(">")[0]
    used = {word.partition("=")[0] for word in command.split() if word.startswith("--")}
    assert used
    assert used <= known


def test_search_knows_the_options_that_the_file_shows() -> None:
    spec = importlib.util.spec_from_file_location("search", ROOT / "runners/search.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    known = {o for parameter in typer.main.get_command(module.app).params for o in parameter.opts}
    shown = re.findall(r"runners/search\.py (.*)|compose run --rm search (.*)", TEXT)
    used = set(re.findall(r"--[a-z-]+", " ".join(map("".join, shown))))
    assert used
    assert used <= known


def test_machines_with_gpus_and_without() -> None:
    gpu = SERVICES["ray-worker-gpu"]
    devices = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in SERVICES["ray-worker-cpu"]
    assert gpu["profiles"] == ["gpu"]
    assert SERVICES["ray-worker-cpu"]["profiles"] == ["cpu"]
    assert all("shm_size" in s for n, s in SERVICES.items() if n.startswith("ray") or n == "search")
