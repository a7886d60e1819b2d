"""Trained networks as files, `arch.json` and `model.safetensors`.

`nas.training.full` writes them, and `load_pretrained` reads them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from nas.data.info import DatasetInfo
from nas.models import DyClotNet
from nas.space.arch import Arch
from nas.training.recipe import Recipe

DESCRIPTION = "arch.json"
WEIGHTS = "model.safetensors"
MAX_DESCRIPTION_BYTES = 4 * 2**20


class Description(BaseModel):
    """The contents of `arch.json`: the network that the weights belong to, and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    arch_id: str | None = None  # identifies `arch`
    arch: dict[str, Any] | None = None  # an `Arch`; None for a reference network
    reference: str | None = None  # name of a reference network; None where `arch` is given
    dataset: dict[str, Any]  # a `DatasetInfo`: normalisation, class names, image size
    recipe: dict[str, Any]
    seed: int
    versions: dict[str, str]
    weights_sha256: str | None = None  # hash of `model.safetensors`; None during training

    @model_validator(mode="after")
    def _check(self) -> Description:
        DatasetInfo.from_dict(self.dataset)
        Recipe.model_validate(self.recipe)
        if (self.arch is None) == (self.reference is None):
            raise ValueError("accepted: either arch or reference")
        if self.arch is not None and Arch.from_dict(self.arch).arch_id != self.arch_id:
            raise ValueError(f"arch_id: {self.arch_id} does not belong to the architecture")
        return self

    def dataset_info(self) -> DatasetInfo:
        """The data set that the network was trained on, with the normalisation of its images."""
        return DatasetInfo.from_dict(self.dataset)

    def build(self) -> nn.Module:
        """The described network, with weights drawn at random."""
        info = self.dataset_info()
        if self.arch is not None:
            return DyClotNet(Arch.from_dict(self.arch), info.in_channels, info.num_classes)
        from nas.models.reference import build_reference

        return build_reference(str(self.reference), info.in_channels, info.num_classes)

    def settings(self) -> dict[str, Any]:
        """The fields that decide the outcome, and must not change when a training continues."""
        settings = self.model_dump(mode="json", exclude={"versions", "weights_sha256"})
        # Fields that an older version did not write have their defaults.
        settings["dataset"] = self.dataset_info().to_dict()
        settings["recipe"] = Recipe.model_validate(self.recipe).model_dump(mode="json")
        return settings


def load_pretrained(folder: str | Path) -> nn.Module:
    """A retrained network in evaluation mode, on the CPU.

    Args:
        folder: holds `arch.json` and `model.safetensors`, as retraining wrote them.

    Returns:
        A `DyClotNet`, or the reference network that was trained. Its input are images
        [B, C, H, W] with the mean and deviation of `read_description(folder).dataset_info()`
        subtracted and divided out; its output are logits [B, classes].

    Raises:
        ValueError: one line with the file that is missing or damaged.
    """
    folder = Path(folder)
    description = read_description(folder)
    path = folder / WEIGHTS
    if description.weights_sha256 is None:
        raise ValueError(f"{folder / DESCRIPTION}: the training is not finished; retrain again")
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != description.weights_sha256:
            raise ValueError(f"{path}: its hash is not the one in {DESCRIPTION}")
        network = description.build()
        network.load_state_dict(load_tensors(content))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (SafetensorError, RuntimeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: not the weights of this network ({line})") from None
    # In the memory layout of the training, so that sums run in the same order.
    return network.to(memory_format=torch.channels_last).eval()


def read_description(folder: Path) -> Description:
    """Read and validate the `arch.json` of a folder.

    Raises:
        ValueError: one line with the file and the field that is wrong.
    """
    path = folder / DESCRIPTION
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DESCRIPTION_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be read ({error.strerror}); accepted: the folder of a retrained "
            "network, such as results/STUDY/retrained/ARCH_ID"
        ) from None
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise ValueError(f"{path}: larger than {MAX_DESCRIPTION_BYTES} bytes")
    try:
        return Description.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{path}: {field + ': ' if field else ''}{message}") from None
    except (ValueError, RecursionError):  # also a number of more digits than Python reads
        raise ValueError(f"{path}: not valid JSON") from None
