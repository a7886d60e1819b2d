"""BoTorch's qLogNEHVI as an Optuna sampler, to compare with.

Each of the two objectives has a Gaussian process of its own; the acquisition function picks
batches of four from a pool of candidates (Ament et al., 2023).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from nas.samplers.parameters import distribution
from nas.space.space import Choice

BATCH = 4
START = 12  # random evaluations before the first model
POOL = 1000  # candidates besides the neighbours of the front
MC_SAMPLES = 64
FIT_STEPS = 200  # of L-BFGS: multiply-adds have no noise, and the fit converges slowly to it


class BoTorchSampler(optuna.samplers.BaseSampler):
    """qLogNEHVI over two Gaussian processes; both objectives are minimised."""

    def __init__(self, choices: Sequence[Choice], seed: int) -> None:
        self._choices = choices
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._queue: list[tuple[int, ...]] = []
        self._sizes = np.array([len(choice.values) for choice in choices])

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All choices."""
        return {choice.name: distribution(choice) for choice in self._choices}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next setting of the batch; a new batch where it is empty."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(trials) < START:
            code = tuple(self._rng.integers(self._sizes).tolist())
        else:
            if not self._queue:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._queue = self._batch(trials)
            code = self._queue.pop(0)
        return {c.name: c.values[v] for c, v in zip(self._choices, code, strict=True)}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Raises ValueError: all choices are relative, so any other parameter is unknown."""
        raise ValueError(f"parameter {param_name!r}: not a choice of this sampler's space")

    def _batch(self, trials: Sequence[FrozenTrial]) -> list[tuple[int, ...]]:
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement,
        )
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from botorch.optim import optimize_acqf_discrete
        from botorch.sampling.normal import SobolQMCNormalSampler
        from gpytorch.mlls import SumMarginalLogLikelihood

        torch.manual_seed(self._seed + len(trials))
        codes = np.array(
            [[c.values.index(t.params[c.name]) for c in self._choices] for t in trials]
        )
        values = -np.array([t.values for t in trials])
        scaled = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
        X, Y = torch.from_numpy(self._features(codes)), torch.from_numpy(scaled)
        model = ModelListGP(*(SingleTaskGP(X, Y[:, i : i + 1]) for i in range(2)))
        fit_gpytorch_mll(
            SumMarginalLogLikelihood(model.likelihood, model),
            optimizer_kwargs={"options": {"maxiter": FIT_STEPS}},
        )
        worst = np.array([np.percentile(scaled[:, 0], 10), scaled[:, 1].min()])
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=worst.tolist(),
            X_baseline=X,
            sampler=SobolQMCNormalSampler(torch.Size([MC_SAMPLES]), seed=self._seed),
            prune_baseline=True,
        )
        pool = self._pool(codes, values)
        picked, _ = optimize_acqf_discrete(
            acquisition,
            q=min(BATCH, len(pool)),
            choices=torch.from_numpy(self._features(pool)),
            max_batch_size=512,
        )
        rows = {
            row.tobytes(): tuple(code)
            for row, code in zip(self._features(pool), pool.tolist(), strict=True)
        }
        return [rows[row.numpy().tobytes()] for row in picked]

    def _pool(self, codes: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Unseen candidates: neighbours of the front, and random settings."""
        from botorch.utils.multi_objective.pareto import is_non_dominated

        seen = set(map(tuple, codes.tolist()))
        pool: dict[tuple[int, ...], None] = {}
        for code in codes[is_non_dominated(torch.from_numpy(values)).numpy()].tolist():
            for index, size in enumerate(self._sizes):
                for value in range(size):
                    pool[(*code[:index], value, *code[index + 1 :])] = None
        for code in self._rng.integers(self._sizes, size=(POOL, len(self._sizes))).tolist():
            pool[tuple(code)] = None
        return np.array([code for code in pool if code not in seen])

    def _features(self, codes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Categorical choices one-hot, ordinal ones scaled to [0, 1]."""
        columns = []
        for index, choice in enumerate(self._choices):
            if choice.ordinal:
                columns.append(codes[:, index : index + 1] / max(1, len(choice.values) - 1))
            else:
                columns.append(np.eye(len(choice.values))[codes[:, index]])
        return np.hstack(columns).astype(np.float64)
