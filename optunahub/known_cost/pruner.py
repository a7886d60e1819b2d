"""The stopping rule for `study.optimize`: a trial ends once it is unlikely to enter the front."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna

from nas.samplers.history import curve
from nas.stopping.rule import TrialCurve, decide, rungs


class KnownCostPruner:
    """Stops trials of a multi-objective study early.

    Optuna's trials of several objectives cannot `report`, and its pruners are never asked. So the
    objective calls `should_prune` after an epoch, and raises `optuna.TrialPruned` where it is True:
    the trial is then PRUNED and not on the front. Accuracies are stored as the trial's user
    attribute `curve`, from which the sampler forecasts what a stopped trial would have reached.

    Args:
        costs: the known objectives of a setting of all parameters, each over 0 and minimised.
        epochs: of a whole training.
        images: number of images that an accuracy is a share of.
    """

    def __init__(
        self,
        costs: Callable[[Mapping[str, Any]], tuple[float, ...]],
        epochs: int,
        *,
        images: int | None = None,
    ) -> None:
        self._costs, self._epochs, self._images = costs, epochs, images
        self.rungs = rungs(epochs)  # the epochs after which an evaluation is worth its time

    def should_prune(self, trial: optuna.Trial, epoch: int, accuracy: float) -> bool:
        """Whether to stop a trial that has an accuracy, a fraction, after an epoch.

        Raises:
            ValueError: the epoch or the accuracy is out of range.
        """
        if not 1 <= epoch <= self._epochs or not 0 <= accuracy <= 1:
            raise ValueError(
                f"epoch {epoch}, accuracy {accuracy}; accepted: 1 to {self._epochs}, 0 to 1"
            )
        points = {**dict(trial.user_attrs.get("curve", [])), epoch: accuracy}
        trial.set_user_attr("curve", [list(point) for point in sorted(points.items())])
        if epoch == self._epochs:
            return False
        others = [
            TrialCurve(self._costs(other.params), curve(other))
            for other in trial.study.get_trials(deepcopy=False)
            if other.number != trial.number and curve(other)
        ]
        so_far = TrialCurve(self._costs(trial.params), points)
        return not decide(so_far, others, self._epochs, images=self._images).goes_on
