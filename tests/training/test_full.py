"""Full training: its files, a continuation after a kill, one look at the test set, loading."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from nas.data import Batches, SearchData, Split, load_test_data
from nas.space.arch import Arch
from nas.space.cost import cost
from nas.training import Recipe, accuracy, evaluate, get_recipe
from nas.training import folder as folder_module
from nas.training import full as module
from nas.training.full import retrain
from nas.training.pretrained import load_pretrained, read_description

CPU = torch.device("cpu")
NOWHERE = Path("unused")


def load_test() -> Split:
    return load_test_data("digits", NOWHERE)


RECIPE = get_recipe("full", epochs=3, batch_size=50, train_images=200, val_images=100)


class Killed(BaseException):
    """What a signal does to a training."""


def run(
    arch: Arch | str, data: SearchData, folder: Path, recipe: Recipe = RECIPE, **rest: Any
) -> dict[str, Any]:
    seed, load = rest.pop("seed", 0), rest.pop("load", load_test)
    return retrain(arch, data, load, recipe, seed, folder, device=CPU, **rest)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_arch: Arch, digits_data: SearchData
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(tiny_arch, digits_data, folder)


def test_the_files_of_a_finished_training(
    finished: tuple[Path, dict[str, Any]], tiny_arch: Arch, digits_data: SearchData
) -> None:
    folder, metrics = finished
    files = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert files == {"model.safetensors", "arch.json", "metrics.json", "history.csv"}
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert set(metrics) >= {"val_accuracy", "test_accuracy", "macs", "params", "seconds"}
    counted = cost(tiny_arch, 8, 1, 10)
    assert (metrics["macs"], metrics["params"]) == (counted.macs, counted.params)
    assert (metrics["epochs"], metrics["seed"]) == (3, 0)
    assert [row["epoch"] for row in history(folder)] == ["1", "2", "3"]
    described = read_description(folder)
    assert described.dataset_info() == digits_data.info
    assert Recipe.model_validate(described.recipe) == RECIPE


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_loaded_network_gives_the_same_logits(
    finished: tuple[Path, dict[str, Any]], digits_data: SearchData
) -> None:
    folder, metrics = finished
    network = nas.load_pretrained(folder)
    assert not network.training
    test = load_test_data("digits", NOWHERE)
    batches = Batches(test, digits_data.info, 360, CPU)
    assert accuracy(network, batches) == metrics["test_accuracy"]


def test_the_logits_are_those_that_were_evaluated(
    tmp_path: Path, tiny_arch: Arch, digits_data: SearchData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many at once as fit at this size of image."""
    logits, sizes = [], []
    monkeypatch.setattr(evaluate, "EVALUATION_PIXELS", 50 * 8 * 8)

    def recording(network: torch.nn.Module, batches: Batches) -> torch.Tensor:
        sizes.append(batches.batch_size)
        with torch.inference_mode():
            logits.append(torch.cat([network.eval()(x) for x, _ in batches]))
        return logits[-1].argmax(1)

    monkeypatch.setattr(module, "predict", recording)
    run(tiny_arch, digits_data, tmp_path, RECIPE.model_copy(update={"epochs": 1}))
    test = load_test_data("digits", NOWHERE)
    recording(load_pretrained(tmp_path), Batches(test, digits_data.info, 50, CPU))
    assert sizes == [50, 50]
    assert torch.equal(*logits)


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_training_continues_to_the_same_result(
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    tiny_arch: Arch,
    digits_data: SearchData,
    killed_after: int,
) -> None:
    def kill(epoch: int, epochs: int, loss: float, val_accuracy: float) -> None:
        if epoch == killed_after:
            raise Killed

    told: list[int] = []
    with pytest.raises(Killed):
        run(tiny_arch, digits_data, tmp_path, progress=kill)
    metrics = run(
        tiny_arch, digits_data, tmp_path, progress=lambda epoch, *rest: told.append(epoch)
    )
    assert told == list(range(killed_after + 1, 4))
    folder, expected = finished
    assert metrics | {"seconds": 0} == expected | {"seconds": 0}
    assert (tmp_path / "model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()
    for found, wanted in zip(history(tmp_path), history(folder), strict=True):
        assert found | {"seconds": ""} == wanted | {"seconds": ""}
    seconds = [float(row["seconds"]) for row in history(tmp_path)]
    assert seconds == sorted(seconds)


def test_a_training_killed_while_it_writes_continues_to_the_same_result(
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    tiny_arch: Arch,
    digits_data: SearchData,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The training is killed at every single write in turn."""
    write = module.write_atomic
    budget = 0

    def limited(path: Path, content: str | bytes) -> None:
        nonlocal budget
        if budget == 0:
            raise Killed
        budget -= 1
        write(path, content)

    def write_by(function: Callable[[Path, str | bytes], None]) -> None:
        for writing in (module, folder_module):
            monkeypatch.setattr(writing, "write_atomic", function)

    write_by(limited)
    kills = 0
    while True:
        budget = 1
        try:
            metrics = run(tiny_arch, digits_data, tmp_path)
            break
        except Killed:
            kills += 1
            assert kills < 20
            if kills > 6:
                budget = 100
                write_by(write)
    assert kills > 3
    assert metrics | {"seconds": 0} == finished[1] | {"seconds": 0}


def test_the_test_set_is_read_once_and_only_at_the_end(
    tmp_path: Path, tiny_arch: Arch, digits_data: SearchData
) -> None:
    events: list[str] = []

    def watched() -> Split:
        events.append("test")
        return load_test()

    def progress(*of_epoch: Any) -> None:
        events.append("epoch")

    for _ in range(2):  # the second time nothing is left to do
        metrics = run(tiny_arch, digits_data, tmp_path, progress=progress, load=watched)
    assert events == ["epoch"] * 3 + ["test"]
    assert metrics["test_images"] == 360


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, r"another seed \(0 there, 1 asked\)"),
        ({"recipe": RECIPE.model_copy(update={"epochs": 4})}, r"another recipe \(epochs: 3 there"),
        ({"arch": "mobilenetv2"}, "another arch"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    finished: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    tiny_arch: Arch,
    digits_data: SearchData,
    change: dict[str, Any],
    words: str,
) -> None:
    folder, _ = finished
    settings = {"arch": tiny_arch, "data": digits_data, "folder": folder} | change
    with pytest.raises(ValueError, match=words) as caught:
        run(**settings)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_new_field_of_the_recipe_has_its_default(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, tiny_arch: Arch, digits_data: SearchData
) -> None:
    folder = tmp_path / "older"
    shutil.copytree(finished[0], folder)
    described = json.loads((folder / "arch.json").read_text())
    del described["recipe"]["mixup"]
    (folder / "arch.json").write_text(json.dumps(described))
    assert run(tiny_arch, digits_data, folder) == finished[1]
    recipe = RECIPE.model_copy(update={"mixup": 0.2})
    with pytest.raises(ValueError, match=r"mixup: 0.0 there, 0.2 asked"):
        run(tiny_arch, digits_data, folder, recipe)


def test_other_settings_are_refused_by_the_checkpoint_too(
    tmp_path: Path, tiny_arch: Arch, digits_data: SearchData
) -> None:
    def kill(*rest: Any) -> None:
        raise Killed

    with pytest.raises(Killed):
        run(tiny_arch, digits_data, tmp_path, progress=kill)
    (tmp_path / "arch.json").unlink()
    with pytest.raises(ValueError, match="another seed"):
        run(tiny_arch, digits_data, tmp_path, seed=1)


def test_a_folder_in_use_or_unusable_is_refused(
    tmp_path: Path, tiny_arch: Arch, digits_data: SearchData
) -> None:
    def again(*rest: Any) -> None:
        run(tiny_arch, digits_data, tmp_path)

    with pytest.raises(ValueError, match="another process trains there"):
        run(tiny_arch, digits_data, tmp_path, progress=again)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        run(tiny_arch, digits_data, tmp_path / "file")


def copy_of(folder: Path, target: Path) -> Path:
    for name in ("arch.json", "model.safetensors"):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def unfinished(folder: Path) -> None:
    path = folder / "arch.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": None}))


def other_arch(folder: Path) -> None:
    path = folder / "arch.json"
    described = json.loads(path.read_text())
    described["arch"]["stem"] = 16
    path.write_text(json.dumps(described))


def other_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "arch.json").unlink(), "arch.json: cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors: cannot be read"),
        (lambda folder: (folder / "arch.json").write_text("{"), "not valid JSON"),
        (lambda folder: (folder / "arch.json").write_text("9" * 5_000), "arch.json: not valid"),
        (lambda folder: (folder / "arch.json").write_text("[]"), "arch.json: "),
        (lambda folder: (folder / "arch.json").write_text("{}"), "dataset: Field required"),
        (unfinished, "not finished"),
        (other_arch, "does not belong to the architecture"),
        (other_weights, "its hash is not the one in arch.json"),
    ],
)
def test_a_damaged_folder_is_one_line(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, damage: Any, words: str
) -> None:
    damage(copy_of(finished[0], tmp_path))
    with pytest.raises(ValueError, match=words) as caught:
        load_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_reference_network_is_retrained_and_loaded_alike(
    tmp_path: Path, digits_data: SearchData
) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 1, "train_images": 20, "val_images": 20})
    metrics = run("mobilenetv2", digits_data, tmp_path, recipe)
    network = load_pretrained(tmp_path)
    assert sum(p.numel() for p in network.parameters()) == metrics["params"]
    assert read_description(tmp_path).reference == "mobilenetv2"
    assert metrics["macs"] > 10**6
