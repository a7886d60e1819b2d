"""Where studies are, and how one that exists is opened. Nothing is created or changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna
import sqlalchemy

from nas.study.config import StudyConfig, stored_config
from nas.study.storage.engine import (
    has_tables,
    hide_password,
    open_storage,
    parse_storage,
    sqlite_url,
)


@dataclass(frozen=True)
class StudyLocation:
    """Where a study is."""

    name: str
    storage: str  # URL, with its password
    folder: Path | None  # of its files, where it is known


def folder_location(folder: Path, storage: str | None, name: str | None) -> StudyLocation:
    """The study of one folder such as `results/STUDY`.

    Args:
        folder: the study's folder; its name is the study's.
        storage: a database URL; the SQLite file of the folder is taken first where it exists.
        name: of the study, where it is not the folder's.

    Raises:
        ValueError: there is neither a database in the folder nor a URL.
    """
    file = folder / "study.db"
    if file.is_file():
        storage = sqlite_url(file)
    elif storage is None:
        raise ValueError(
            f"{folder}: holds no study.db; accepted: a study's folder such as results/STUDY, "
            "or --storage URL for a study in PostgreSQL"
        )
    return StudyLocation(name or folder.resolve().name, storage, folder)


def find_studies(folder: Path, storage: str | None, study: str | None) -> list[StudyLocation]:
    """The studies of a folder (a study's own, or one that holds such folders), or of a database.

    Raises:
        ValueError: there is none.
    """
    if storage is not None:
        names = [study] if study else sorted(optuna.get_all_study_names(open_storage(storage)))
        if not names:
            raise ValueError(f"--storage {hide_password(storage)}: holds no study")
        folders = {name: folder / name for name in names}
        return [
            StudyLocation(name, storage, path if path.is_dir() else None)
            for name, path in folders.items()
        ]
    files = [folder / "study.db"]
    if not files[0].exists():
        files = [folder / study / "study.db"] if study else sorted(folder.glob("*/study.db"))
    locations = [
        StudyLocation(study or file.parent.resolve().name, sqlite_url(file), file.parent)
        for file in files
        if file.exists()
    ]
    if not locations:
        raise ValueError(
            f"{folder}: holds no study.db; accepted: a study's folder, a folder of such folders, "
            "or --storage URL"
        )
    return locations


def find_study(storage: str, name: str) -> optuna.Study | None:
    """Open a study; None where it, its tables or its SQLite file do not exist.

    Raises:
        StorageError: the database cannot be read.
    """
    url = parse_storage(storage)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        return None
    try:
        if not has_tables(storage):
            return None
    except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError):
        pass  # `open_storage` says what is wrong
    try:
        return optuna.load_study(study_name=name, storage=open_storage(storage))
    except KeyError:
        return None


def open_study(location: StudyLocation) -> tuple[optuna.Study, StudyConfig]:
    """A study and its configuration.

    Raises:
        ValueError: there is no such study, or this program did not make it.
    """
    study = find_study(location.storage, location.name)
    if study is None:
        raise ValueError(
            f"study {location.name}: not in {hide_password(location.storage)}; "
            "accepted: --study with a name that is there"
        )
    config = stored_config(study)
    if config is None:
        raise ValueError(f"study {location.name}: empty; accepted: one that a search has begun")
    return study, config
