"""Train one purchase-propensity model: choose and calibrate on rolling origins, never on the held-out periods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from ml.core.calibration import Calibration, TrailingWindow, fit_calibration
from ml.core.contract import FeatureContract
from ml.core.errors import TrainingDataError
from ml.core.estimators import (
    Candidate,
    Family,
    average_of,
    drop_constant,
    list_candidates,
)
from ml.core.metrics import Flags, Floats, row_log_losses
from ml.core.split import MIN_DAYS, Periods, TimeSplit, split_by_day

MIN_TRAIN_POSITIVES = 200
MIN_TEST_POSITIVES = 50
MIN_POINT_POSITIVES = 50  # in the periods before the test; a decision point with fewer gets no model
MIN_FOLD_POSITIVES = 30
MIN_MULTI_EVENT_SHARE = 0.25
MIN_SEARCH_ROWS = 4_000
WIDE_SEARCH_SECONDS = 30.0  # from this budget on, more parameters of each family are tried
ALL = "all"  # stands for the decision point of whole sessions
FITTED_ON = "all periods before the test; the held-out ones were not used for fitting, choice or calibration"
# CPU seconds of one fit of all stages and its predictions: a fixed part, and one per 1,000 rows of 40 columns. The
# budget is kept by this estimate, not by a clock: a clock would give another model on a busy machine.
FIT_SECONDS: dict[Family, tuple[float, float]] = {
    "logistic_regression": (0.12, 0.035),
    "random_forest": (0.13, 0.07),
    "gradient_boosting": (0.25, 0.04),
}


@dataclass(frozen=True)
class NotTrained:
    """Why no model was made, in a sentence for people."""

    why: str


@dataclass(frozen=True)
class TrainingSet:
    """Rows of one feature table: features (n, contract columns), labels (n,), periods (n,), user codes (n,).

    `periods` are day numbers, or positions in an order of time; `blocks` (n,) number the steps in which scores are made
    (for daily scoring the day numbers too) and `window` says which earlier blocks correct a block's base rate.
    `points` (n,) names the decision point of each row, None for whole sessions. `groups` are columns (n,) to report by;
    `truth` (n,) are true probabilities where they are known, NaN elsewhere, and serve the report alone.
    """

    features: pd.DataFrame
    labels: Flags
    periods: Periods
    users: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int64]
    window: TrailingWindow
    points: npt.NDArray[np.object_] | None = None
    groups: dict[str, npt.NDArray[np.object_]] = field(default_factory=dict)
    truth: Floats | None = None

    @property
    def point_names(self) -> npt.NDArray[np.object_]:
        """The decision point (n,) of each row, `all` where there are none."""
        return np.full(len(self.labels), ALL, dtype=object) if self.points is None else self.points

    def take(self, rows: npt.NDArray[np.int64] | Flags) -> TrainingSet:
        """These rows only."""
        return TrainingSet(
            self.features[rows] if rows.dtype == bool else self.features.iloc[rows],
            self.labels[rows],
            self.periods[rows],
            self.users[rows],
            self.blocks[rows],
            self.window,
            None if self.points is None else self.points[rows],
            {name: values[rows] for name, values in self.groups.items()},
            None if self.truth is None else self.truth[rows],
        )


@dataclass(frozen=True)
class PropensityModel:
    """A fitted pipeline and its calibration for each decision point (`all`: whole sessions)."""

    pipelines: dict[str, Pipeline]
    calibrations: dict[str, Calibration]

    @threadpool_limits.wrap(limits=1)
    def predict(self, features: pd.DataFrame, points: npt.NDArray[np.object_] | None = None) -> Floats:
        """Calibrated purchase probabilities (n,) of feature rows; NaN at decision points without a model."""
        scores = np.full(len(features), np.nan)
        for point, pipeline in self.pipelines.items():
            rows = np.arange(len(features)) if points is None else np.flatnonzero(points == point)
            if len(rows):
                raw = _predict_raw(pipeline, features.iloc[rows])
                scores[rows] = self.calibrations[point].apply(raw)
        return scores


@dataclass(frozen=True)
class TrainedPropensity:
    """A model, and how it was chosen: each candidate's loss on the rolling origins, and in a sentence why this one."""

    model: PropensityModel
    candidate: Candidate
    split: TimeSplit
    search: list[dict[str, Any]]
    why: str


def explain_thin_sessions(n_sessions: int, multi_event_share: float | None) -> str | None:
    """Why these sessions teach nothing (too few have a second event to learn from), or None.

    `multi_event_share` is the share of sessions with two or more events; None where it is not known.
    """
    if n_sessions == 0:
        return "there are no sessions"
    if multi_event_share is not None and multi_event_share < MIN_MULTI_EVENT_SHARE:
        return (
            f"only {multi_event_share:.1%} of {n_sessions:,} sessions have more than one event "
            f"({MIN_MULTI_EVENT_SHARE:.0%} needed): the export looks sampled; it shows too little behaviour"
        )
    return None


def explain_thin_rows(data: TrainingSet, split: TimeSplit, *, test_positives: int = MIN_TEST_POSITIVES) -> str | None:
    """Why these rows cannot train and judge a model (too few purchases, one class only), or None.

    `test_positives` purchases are needed in the held-out days.
    """
    for part, mask, needed in (
        ("the training days", split.known_mask(data.periods), MIN_TRAIN_POSITIVES),
        ("the held-out days", split.test_mask(data.periods), test_positives),
    ):
        purchases = count_purchasing_sessions(data, mask)
        if purchases < needed:
            return f"{purchases} sessions with a purchase in {part}; at least {needed} are needed"
        if data.labels[mask].all():
            return f"every row of {part} has a purchase: there is nothing to distinguish"
    return None


def count_purchasing_sessions(data: TrainingSet, mask: Flags) -> int:
    """Sessions with a purchase: a session has one row at each decision point, so the fullest point counts them."""
    points, counts = np.unique(data.point_names[mask & data.labels].astype(str), return_counts=True)
    return int(counts.max()) if len(points) else 0


# One thread: sums come out in the same order every time, so the same data give the same model; and threads that wait
# for each other on busy cores cost more than they bring.
@threadpool_limits.wrap(limits=1)
def train_propensity(
    data: TrainingSet,
    contract: FeatureContract,
    *,
    budget_seconds: float,
    split: TimeSplit | None = None,
    test_positives: int = MIN_TEST_POSITIVES,
    seed: int = 0,
) -> TrainedPropensity | NotTrained:
    """Choose among the candidates on rolling origins, calibrate the choice there, and fit it on all known periods.

    Each decision point has a pipeline of its own; family and parameters are shared. Candidates are compared on whole
    users and on decision points drawn so that the search costs about `budget_seconds` of CPU (by estimate; no fewer
    than two points and 4,000 rows), by the log-loss that is left when
    each fold's scores are put on their best calibration line: level and slope are calibrated afterwards, so what counts
    is what a candidate can tell apart. The simplest family within one standard error (by user) of the best wins
    (Breiman et al. 1984). `split` defaults to `split_by_day`. With fewer than `test_positives` purchases in the
    held-out days nothing is trained.
    """
    if split is None:
        n_days = len(np.unique(data.periods))
        if n_days < MIN_DAYS:
            return NotTrained(f"{n_days} days with sessions; at least {MIN_DAYS} are needed for a split by time")
        split = split_by_day(data.periods.astype("datetime64[D]"))
    thin = explain_thin_rows(data, split, test_positives=test_positives)
    if thin is not None:
        return NotTrained(thin)
    known = data.take(split.known_mask(data.periods))
    names, counts = np.unique(known.point_names[known.labels].astype(str), return_counts=True)
    kept = names[counts >= MIN_POINT_POSITIVES].tolist()
    known = known.take(np.isin(known.point_names.astype(str), kept))
    candidates = list_candidates(wide=budget_seconds >= WIDE_SEARCH_SECONDS)
    tried = _pick_points(known, kept, split, candidates, budget_seconds)
    searched = known if len(tried) == len(kept) else known.take(np.isin(known.point_names.astype(str), tried))
    n_rows = _count_search_rows(searched, split, candidates, budget_seconds, len(tried))
    if n_rows < len(searched.labels):
        searched = searched.take(draw_users(searched.users, n_rows, seed))
    folds = _list_folds(searched, split)
    if not folds:
        return NotTrained("the days before the held-out ones have too few purchases to compare models on")
    candidate, scores, table, why = _choose(searched, contract, candidates, folds, seed)
    folds = _list_folds(known, split)
    if searched is not known:
        scores = _predict_folds(known, contract, candidate, folds, seed)
    predicted = np.isfinite(scores)
    fold_of = np.zeros(len(known.labels), dtype=np.int64)
    for number, (_, valid) in enumerate(folds, start=1):
        fold_of[valid] = number
    points = known.point_names
    pipelines, calibrations = {}, {}
    for point in kept:
        rows = points == point
        pipelines[point] = _fit(candidate, contract, known, np.flatnonzero(rows), seed)
        judged = rows & predicted
        calibrations[point] = fit_calibration(scores[judged], known.labels[judged], fold_of[judged])
    return TrainedPropensity(PropensityModel(pipelines, calibrations), candidate, split, table, why)


def _pick_points(
    data: TrainingSet, points: list[str], split: TimeSplit, candidates: list[Candidate], budget_seconds: float
) -> list[str]:
    """The decision points to search on: as many as half of the budget can fit, two at least, from the fullest to the
    emptiest evenly spread. Family and parameters are shared, and few points with many rows tell more about them."""
    per_point = sum(FIT_SECONDS[candidate.family][0] for candidate in candidates) * len(split.folds)
    n = min(len(points), max(2, int(budget_seconds / 2 / per_point)))
    names, counts = np.unique(data.point_names.astype(str), return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")]
    return ordered[((np.arange(n) + 0.5) * len(ordered) / n).astype(int)].tolist()


def _count_search_rows(
    data: TrainingSet, split: TimeSplit, candidates: list[Candidate], budget_seconds: float, n_points: int
) -> int:
    """How many rows the search may use, so that all candidates on all folds cost about the budget."""
    rows = len(data.labels)
    share = sum(float(split.train_mask(fold, data.periods).mean()) for fold in split.folds)
    fixed = sum(FIT_SECONDS[candidate.family][0] for candidate in candidates) * len(split.folds) * n_points
    per_row = sum(FIT_SECONDS[candidate.family][1] for candidate in candidates) * share / 1_000
    per_row *= max(1.0, data.features.shape[1] / 40)
    return min(rows, max(MIN_SEARCH_ROWS, round((budget_seconds - fixed) / per_row)))


def draw_users(users: npt.NDArray[np.int64], n_rows: int, seed: int) -> Flags:
    """Rows (n,) of whole users drawn at random, about `n_rows` of them."""
    if n_rows >= len(users):
        return np.ones(len(users), dtype=bool)
    distinct, codes = np.unique(users, return_inverse=True)
    drawn = np.random.default_rng(seed).random(len(distinct)) < n_rows / len(users)
    return drawn[codes]


def _list_folds(data: TrainingSet, split: TimeSplit) -> list[tuple[Flags, Flags]]:
    """Train and validation rows of each fold that has enough purchases in both."""
    folds = [(split.train_mask(fold, data.periods), split.valid_mask(fold, data.periods)) for fold in split.folds]
    return [
        (train, valid)
        for train, valid in folds
        if min(data.labels[train].sum(), data.labels[valid].sum()) >= MIN_FOLD_POSITIVES
    ]


def _choose(
    data: TrainingSet,
    contract: FeatureContract,
    candidates: list[Candidate],
    folds: list[tuple[Flags, Flags]],
    seed: int,
) -> tuple[Candidate, Floats, list[dict[str, Any]], str]:
    """The candidate to take, its rolling predictions (n,), the loss of each candidate, and why this one."""
    table = []
    best: dict[str, tuple[Candidate, Floats, Floats]] = {}  # family: candidate, its scores, its losses

    def consider(candidate: Candidate, scores: Floats) -> None:
        losses = _calibrated_losses(data.labels, scores, folds)
        loss = float(np.nanmean(losses))
        table.append({"family": candidate.family, **candidate.params, "log_loss": round(loss, 6)})
        held = best.get(candidate.family)
        if held is None or loss < np.nanmean(held[2]):
            best[candidate.family] = candidate, scores, losses

    for candidate in candidates:
        of_stages = _predict_stages(data, contract, candidate, folds, seed)
        for stage, scores in zip(candidate.list_stages(), of_stages, strict=True):
            consider(stage, scores)
    singles = list(best.values())
    consider(average_of([held[0] for held in singles]), np.mean([held[1] for held in singles], axis=0))
    judged = np.isfinite(singles[0][2])
    winner = min(best, key=lambda family: float(np.nanmean(best[family][2])))
    for family, (candidate, scores, losses) in best.items():
        gap, error = mean_and_error_by_user((losses - best[winner][2])[judged], data.users[judged])
        if gap <= error:
            why = (
                "best log-loss on the rolling origins"
                if family == winner
                else f"simplest family within one standard error of the best, {winner}"
                f" (log-loss {gap:+.5f}, standard error {error:.5f})"
            )
            return candidate, scores, table, why
    raise AssertionError("the best family is within one standard error of itself")


def _predict_stages(
    data: TrainingSet, contract: FeatureContract, candidate: Candidate, folds: list[tuple[Flags, Flags]], seed: int
) -> Floats:
    """Rolling predictions (stages, n) of a candidate's stages, NaN outside of the folds."""
    scores = np.full((len(candidate.list_stages()), len(data.labels)), np.nan)
    for fitted_on, rows, base_rate in _list_fits(data, folds):
        if base_rate is not None:
            scores[:, rows] = base_rate
            continue
        known = data.features.iloc[fitted_on]
        used = _list_used(contract, known)
        labels, unseen = data.labels[fitted_on], data.features.iloc[rows]
        scores[:, rows] = candidate.predict_stages(used, known, labels, unseen, seed=seed)
    return scores


def _predict_folds(
    data: TrainingSet, contract: FeatureContract, candidate: Candidate, folds: list[tuple[Flags, Flags]], seed: int
) -> Floats:
    """Rolling predictions (n,) of a candidate, NaN outside of the folds."""
    scores = np.full(len(data.labels), np.nan)
    for fitted_on, rows, base_rate in _list_fits(data, folds):
        if base_rate is not None:
            scores[rows] = base_rate
        else:
            scores[rows] = _predict_raw(_fit(candidate, contract, data, fitted_on, seed), data.features.iloc[rows])
    return scores


def _list_fits(
    data: TrainingSet, folds: list[tuple[Flags, Flags]]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float | None]]:
    """For each fold and decision point the rows before it and its own; the base rate where those before are of one
    class and can't be fitted."""
    points = data.point_names
    for train, valid in folds:
        for point in sorted(set(points[valid])):
            of_point = points == point
            fitted_on = np.flatnonzero(train & of_point)
            one_class = len(np.unique(data.labels[fitted_on])) < 2
            base_rate = float(data.labels[train].mean()) if one_class else None
            yield fitted_on, np.flatnonzero(valid & of_point), base_rate


def _fit(
    candidate: Candidate, contract: FeatureContract, data: TrainingSet, rows: npt.NDArray[np.int64], seed: int
) -> Pipeline:
    features = data.features.iloc[rows]
    used = _list_used(contract, features)
    pipeline = candidate.build(used, features, seed=seed)
    return pipeline.fit(features[used.feature_names], data.labels[rows])


def _list_used(contract: FeatureContract, features: pd.DataFrame) -> FeatureContract:
    used = drop_constant(contract, features)
    if not used.features:
        raise TrainingDataError(f"{contract.name}: no feature varies in {len(features):,} training rows")
    return used


def _predict_raw(pipeline: Pipeline, features: pd.DataFrame) -> Floats:
    probabilities: Floats = pipeline.predict_proba(features[list(pipeline.feature_names_in_)])[:, 1]
    return probabilities


def _calibrated_losses(labels: Flags, scores: Floats, folds: list[tuple[Flags, Flags]]) -> Floats:
    """Log-loss of each row (n,) once each fold's scores are on their best line; NaN outside of the folds."""
    losses = np.full(len(labels), np.nan)
    for _, valid in folds:
        calibration = fit_calibration(scores[valid], labels[valid], np.zeros(int(valid.sum()), dtype=np.int64))
        losses[valid] = row_log_losses(labels[valid], calibration.apply(scores[valid]))
    return losses


def mean_and_error_by_user(differences: Floats, users: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean of row differences and its standard error, clustered by user (rows of one user are not independent)."""
    mean = float(differences.mean())
    _, codes = np.unique(users, return_inverse=True)
    sums = np.bincount(codes, weights=differences - mean)
    return mean, float(np.sqrt((sums**2).sum()) / len(differences))
