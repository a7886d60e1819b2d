"""A study begins: its configuration is stored, or compared with that of an earlier start."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

from nas.study.config import StudyConfig, software_versions, stored_config
from nas.study.differences import differences, in_one_line


def require_same(
    stored: StudyConfig, asked: StudyConfig, study_name: str, new_study: str = "--study NAME"
) -> None:
    """Refuse to continue a study with another configuration.

    Args:
        stored: what the study was started with.
        asked: what it is to be continued with.
        study_name: of the study.
        new_study: how another study is named, for the message.

    Raises:
        ValueError: naming what differs.
    """
    if differing := differences(stored, asked):
        raise ValueError(
            f"study {study_name} was started otherwise: {in_one_line(differing)}; "
            f"accepted: the study's settings and files, or a new study with {new_study}"
        )


def begin(study: optuna.Study, config: StudyConfig, **attributes: Any) -> None:
    """Store the configuration and further attributes of a new study; compare those of an old one.

    Raises:
        ValueError: it was started with another configuration.
    """
    stored = stored_config(study)
    if stored is not None:
        require_same(stored, config, study.study_name, "another name")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(config.objectives.names))
    written = config.to_attributes() | attributes | {"versions": software_versions()}
    for key, value in written.items():
        study.set_user_attr(key, value)
