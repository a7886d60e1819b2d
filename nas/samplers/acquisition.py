"""Which candidate to train next: EHVI under the hyperparameter samples, for one or for several."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nas.pareto import non_dominated
from nas.samplers.candidates import Candidates
from nas.samplers.ehvi import Boxes, box_decomposition, expected_improvement
from nas.samplers.encoding import Code
from nas.samplers.error_model import ErrorModel
from nas.samplers.history import History
from nas.samplers.outcome_transform import OutcomeTransform
from nas.samplers.posteriors import Posteriors

Array = NDArray[np.float64]

# Candidates that are scored under every hyperparameter sample, preselected by the MAP sample:
PRESELECTED = 60  # in a pool, and in each round of hill climbing
REFERENCE_PERCENTILE = 90  # the reference point has this percentile of the predicted errors


class EnsembleEHVI:
    """Expected hypervolume improvement, averaged over the hyperparameter samples.

    Under each sample, the front is made of the posterior means at the finished and pending
    trials, not of the measured errors: an error that was measured too low would hide better
    architectures. Where errors are exact, both are the same. Where trials are stopped early, a
    trial that does not beat the measured errors does not finish, so there the front is made of
    the lower of the two.

    Only candidates that the MAP sample scores highest are scored under the other samples.
    """

    def __init__(
        self, model: ErrorModel, posteriors: Posteriors, history: History, candidates: Candidates
    ) -> None:
        self._model, self._posteriors, self._candidates = model, posteriors, candidates
        self._pool_moments = _log_moments(posteriors.transforms[0], *posteriors.predict_pool())
        worst = np.exp(np.percentile(self._pool_moments[0], REFERENCE_PERCENTILE))
        reference = [*candidates.base_costs.max(axis=0), worst + posteriors.transforms[0].floor]
        codes = [*history.finished, *history.pending]
        costs = candidates.costs(codes)
        to_beat = np.full(len(codes), np.inf)
        if len(history.finished) < len(history.ended):
            to_beat[: len(history.finished)] = history.errors
        smoothed = posteriors.smoothed()  # of finished, stopped, then pending trials
        stopped = slice(len(history.finished), smoothed.shape[1] - len(history.pending))
        smoothed = np.delete(smoothed, stopped, axis=1)
        front: dict[Code, None] = {}
        self._reference = reference
        self._fronts: list[tuple[Array, Array]] = []  # costs and errors
        self._boxes: list[Boxes] = []
        for transform, means in zip(posteriors.transforms, smoothed, strict=True):
            errors = np.minimum(transform.errors(means), to_beat)
            keep = non_dominated(np.column_stack([costs, errors]))
            front |= dict.fromkeys(code for code, kept in zip(codes, keep, strict=True) if kept)
            self._fronts.append((costs[keep], errors[keep]))
            self._boxes.append(box_decomposition(costs[keep], errors[keep], reference))
        self.front = list(front)  # under any of the samples

    def score_pool(self, rows: list[int], count: int) -> tuple[list[Code], Array]:
        """The best `count` candidates among some rows of the pool, and their EHVI."""
        mean, deviation = (moment[rows] for moment in self._pool_moments)
        by_map = self._ehvi(0, self._candidates.base_costs[rows], mean, deviation)
        return self._score_best([self._candidates.codes[row] for row in rows], by_map, count)

    def score(self, codes: list[Code]) -> tuple[list[Code], Array]:
        """The best `PRESELECTED` of some codes, and their EHVI."""
        return self._score_best(codes, self._ehvi_of_samples(codes, slice(1))[0], PRESELECTED)

    def score_over_costs(self, rows: list[int], count: int) -> dict[Code, float]:
        """The best of some rows of the pool in each of `count` parts of the range of cost.

        Their EHVI under the MAP sample; the parts, by the first cost, have equally many rows.
        """
        mean, deviation = (moment[rows] for moment in self._pool_moments)
        costs = self._candidates.base_costs[rows]
        ehvi = self._ehvi(0, costs, mean, deviation)
        parts = np.array_split(np.argsort(costs[:, 0], kind="stable"), min(count, len(rows)))
        best = [int(part[ehvi[part].argmax()]) for part in parts]
        return {self._candidates.codes[rows[i]]: float(ehvi[i]) for i in best}

    def choose_batch(self, scores: Mapping[Code, float], count: int) -> list[Code]:
        """Up to `count` codes, each the best one beside those before it.

        The first has the highest score. Every further one has the highest score after the
        codes before it are taken to be trained, with their predicted errors: scores shrink by
        the factor that the EHVI under the MAP sample shrinks by.

        Args:
            scores: EHVI of codes of different architectures, all untried.
            count: of codes.
        """
        ranked = sorted(scores, key=lambda code: -scores[code])
        left = np.array([scores[code] for code in ranked])
        costs, points = self._candidates.costs(ranked), self._model.points(ranked)
        mean, covariance = self._posteriors.predict_jointly(points)
        transform, noise = self._posteriors.transforms[0], self._posteriors.map_noise(points)
        errors = transform.errors(mean)
        front_costs, front_errors = self._fronts[0]
        boxes, chosen, before = self._boxes[0], list[int](), np.ones(0)
        while True:
            variance = np.maximum(covariance.diagonal(), 1e-12)
            ehvi = expected_improvement(
                boxes, costs, *_log_moments(transform, mean, variance), floor=transform.floor
            )
            before = ehvi if not chosen else before
            now = left * np.divide(ehvi, before, out=np.ones_like(ehvi), where=before > 0)
            now[chosen] = -1.0
            chosen.append(int(now.argmax()))
            if len(chosen) == min(count, len(ranked)):
                return [ranked[i] for i in chosen]
            column = covariance[:, chosen[-1]]
            covariance = covariance - np.outer(column, column) / (
                column[chosen[-1]] + noise[chosen[-1]]
            )
            front_costs = np.vstack([front_costs, costs[chosen[-1]]])
            front_errors = np.append(front_errors, errors[chosen[-1]])
            boxes = box_decomposition(front_costs, front_errors, self._reference)

    def _score_best(self, codes: list[Code], by_map: Array, count: int) -> tuple[list[Code], Array]:
        """The best codes by their EHVI under the MAP sample, and their mean over all samples."""
        best = np.sort(np.argsort(-by_map, kind="stable")[:count])
        codes = [codes[i] for i in best]
        by_others = self._ehvi_of_samples(codes, slice(1, None))
        return codes, np.mean([by_map[best], *by_others], axis=0)

    def _ehvi_of_samples(self, codes: list[Code], samples: slice) -> list[Array]:
        """EHVI of codes, [N], under each of some samples."""
        indices = range(len(self._boxes))[samples]
        if not indices:
            return []
        costs, points = self._candidates.costs(codes), self._model.points(codes)
        predicted = zip(indices, *self._posteriors.predict(points, samples), strict=True)
        return [
            self._ehvi(i, costs, *_log_moments(self._posteriors.transforms[i], *moments))
            for i, *moments in predicted
        ]

    def _ehvi(self, sample: int, costs: Array, mean: Array, deviation: Array) -> Array:
        floor = self._posteriors.transforms[sample].floor
        ehvi = expected_improvement(self._boxes[sample], costs, mean, deviation, floor=floor)
        # Where no improvement is expected, prefer the candidate that is least certain.
        return ehvi + 1e-15 * deviation


def _log_moments(transform: OutcomeTransform, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of log(error - floor), from those of the targets."""
    return mean * transform.deviation + transform.mean, np.sqrt(variance) * transform.deviation
