"""`docker-compose.yml` without Docker: the Compose schema, and our own rules."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
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


def test_ports_are_published_on_this_machine_unless_told_otherwise() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(re.fullmatch(r"\$\{NAS_BIND:-127\.0\.0\.1\}:\d+:\d+", port) for port in ports)


def test_one_service_builds_the_image_and_no_other_is_pulled() -> None:
    ours = {name: s for name, s in SERVICES.items() if s["image"] == COMPOSE["x-image"]["image"]}
    assert ours.keys() == SERVICES.keys() - {"postgres"}
    assert [name for name, service in ours.items() if "build" in service] == ["ray-head"]
    assert {service["pull_policy"] for service in ours.values()} == {"never"}


def test_files_belong_to_the_user_of_the_environment_file() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.lstrip("# ").split("=") for line in lines if re.match(r"(# )?NAS_\w+=", line))
    defaults = dict(pairs)
    assert set(re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT)) == set(defaults.items())
    for name, service in SERVICES.items():
        if name != "postgres":
            assert service["user"] == "${NAS_UID:-1000}:${NAS_GID:-1000}"
        for volume in service.get("volumes", []):
            if name != "postgres":  # the daemon, which is root, would make them
                assert volume["bind"] == {"create_host_path": False}
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_database_that_is_being_made_is_not_healthy() -> None:
    """Its server listens on its socket then, which pg_isready asks unless told a host."""
    assert "--host=127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"]


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


def steps() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, each on one line."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line and line[0] != "#"]  # type: ignore[misc]


def test_the_image_holds_what_the_services_run() -> None:
    copied = [word for kind, rest in steps() if kind == "COPY" for word in rest.split()[:-1]]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert all((ROOT / name).exists() and f"!{name}" in allowed for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    used = set(re.findall(r"extras\['(\w+)'\]", (ROOT / "Dockerfile").read_text()))
    assert used == {"postgres", "cluster"} <= project["optional-dependencies"].keys()
    assert "nas" in project["scripts"]
    assert [step for step in steps() if step[0] == "RUN" and " g++ " in step[1]]


def test_a_change_of_the_code_downloads_nothing_again() -> None:
    order = [rest for _, rest in steps()]
    downloads = next(at for at, rest in enumerate(order) if "--requirement" in rest)
    code = next(
        at for at, (kind, rest) in enumerate(steps()) if (kind, rest) == ("COPY", "nas nas")
    )
    assert downloads < code
    later = [rest for kind, rest in steps()[code:] if kind == "RUN"]
    assert later == ["pip install --no-cache-dir --no-deps ."]


@pytest.mark.slow
def test_the_image_builds(tmp_path: Path) -> None:
    """Its steps in their order, in a fresh virtual environment and folder, but apt's."""
    environment, folder = tmp_path / "venv", tmp_path / "nas"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    folder.mkdir()
    path = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    for kind, rest in steps():
        if kind == "COPY":
            *names, target = rest.split()
            for name in names:
                there = folder / (target if (ROOT / name).is_dir() else name)
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
                copy(ROOT / name, there)
        elif kind == "RUN" and not re.match("apt-get|mkdir", rest):
            subprocess.run(rest, shell=True, cwd=folder, env=os.environ | path, check=True)
    shutil.rmtree(folder / "nas")  # the program is the installed one
    for command in ("nas search --budget 2 --space tiny --dataset digits --epochs 1 --study t",
                    "nas retrain results/t/front.json --epochs 1",
                    "optuna-dashboard --version", "ray --version"):  # fmt: skip
        done = subprocess.run(
            command.split(), cwd=folder, env=os.environ | path | {"PYTHONPATH": ""},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    code = "import aiohttp, ray.dashboard.head, psycopg, nas; print(nas.__file__)"
    done = subprocess.run(
        ["python", "-c", code], cwd=folder, env=os.environ | path | {"PYTHONPATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(str(environment))


def test_the_cluster_launchers_file_follows_rays_schema() -> None:
    schema = json.loads((resources.files("ray.autoscaler") / "ray-schema.json").read_text())
    cluster = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validator = jsonschema.validators.validator_for(schema)
    assert [error.message for error in validator(schema).iter_errors(cluster)] == []
    assert list(validator(schema).iter_errors(cluster | {"workers": 3}))
    assert cluster["provider"]["type"] == "local"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for command in cluster["setup_commands"]:
        for names in re.findall(r"nas\[(.*)\]", command):
            assert set(names.split(",")) <= extras.keys()


@pytest.mark.parametrize("name", [name for name in SERVICES if "ray start" in
                                  " ".join(words(SERVICES[name]))])  # fmt: skip
def test_ray_start_knows_its_options(name: str) -> None:
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    command = " ".join(words(SERVICES[name])).split("ray start ")[1].split(">")[0]
    used = {word.partition("=")[0] for word in command.split() if word.startswith("--")}
    assert used
    assert used <= known


@pytest.mark.parametrize("command", ["search", "retrain"])
def test_commands_know_the_options_that_the_file_shows(command: str) -> None:
    app = importlib.import_module(f"nas.cli.{command}").app
    known = {o for parameter in typer.main.get_command(app).params for o in parameter.opts}
    shown = re.findall(rf"nas {command} (.*)|compose run --rm {command} (.*)", TEXT)
    used = set(re.findall(r"--[a-z-]+", " ".join(map("".join, shown))))
    assert "--ray-address" in used
    assert used <= known


def test_machines_with_gpus_and_without() -> None:
    gpu = SERVICES["ray-worker-gpu"]
    devices = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in SERVICES["ray-worker-cpu"]
    assert gpu["profiles"] == ["gpu"]
    assert SERVICES["ray-worker-cpu"]["profiles"] == ["cpu"]
    assert all(
        "shm_size" in s
        for n, s in SERVICES.items()
        if n.startswith("ray") or n in ("search", "retrain")
    )
