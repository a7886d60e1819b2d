"""Private names of Optuna: all are in one module, and each is there in the installed version."""

import ast
import importlib
import inspect
from pathlib import Path

import optuna
import pytest

ROOT = Path(__file__).parents[2]
HOME = "nas/study/storage/optuna_private.py"
ATTRIBUTES = {"_storage", "_study_id", "_trial_id", "_backend", "_get_trials", "_create_new_trial"}
NEEDED = {
    "optuna.storages": ("get_storage",),
    "optuna.storages._rdb.storage": ("_create_scoped_session", "RDBStorage"),
    "optuna.storages._rdb.models": (
        *("NOT_FOUND_MSG", "StudyModel", "TrialModel", "TrialParamModel", "TrialValueModel"),
        *("TrialUserAttributeModel", "TrialSystemAttributeModel", "TrialIntermediateValueModel"),
    ),
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in NEEDED.items() for name in names]
)
def test_a_private_name_is_there(module, name):
    where = f"Optuna {optuna.__version__}: {module}.{name} is gone; {HOME} needs it"
    try:
        assert hasattr(importlib.import_module(module), name), where
    except ModuleNotFoundError:
        pytest.fail(where)


def test_a_study_has_its_storage_and_a_database_reads_trials_by_id():
    study = optuna.create_study()
    assert hasattr(study, "_storage"), f"Study._storage is gone; {HOME} needs it"
    reader = getattr(optuna.storages.RDBStorage, "_get_trials", None)
    assert reader is not None, f"RDBStorage._get_trials is gone; {HOME} replaces it"
    assert list(inspect.signature(reader).parameters) == [
        *("self", "study_id", "states", "included_trial_ids", "trial_id_greater_than"),
    ]


def test_no_other_module_uses_a_private_name():
    wrong = []
    for path in [*(ROOT / "nas").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES and name != HOME:
                mine = isinstance(node.value, ast.Name) and node.value.id == "self"
                wrong += [] if mine else [f"{name}: {node.attr}"]
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna._"):
                wrong.append(f"{name}: {node.module}")
            if isinstance(node, ast.ImportFrom) and "._rdb" in (node.module or ""):
                wrong += [] if name == HOME else [f"{name}: {node.module}"]
    assert wrong == []
