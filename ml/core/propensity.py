"""Train one purchase-propensity model: choose on validation days, judge once on held-out days."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from ml.core.contract import FeatureContract
from ml.core.estimators import BOOSTING_ITERATION_STEP, Candidate, list_candidates
from ml.core.metrics import Evaluation, Floats, evaluate
from ml.core.split import MIN_DAYS, TimeSplit, split_by_day

MIN_TRAIN_POSITIVES = 200
MIN_TEST_POSITIVES = 50
MIN_MULTI_EVENT_SHARE = 0.25
FITTED_ON = "train and validation days; the held-out days were used for no fit and no choice"


@dataclass(frozen=True)
class NotTrained:
    """Why no model was made, in a sentence for people."""

    why: str


@dataclass(frozen=True)
class TrainingSet:
    """Rows of one feature table: features (n, contract columns), labels (n,), property days (n,), user codes (n,).

    `points` (n,) names the decision point of each row, None for whole sessions.
    """

    features: pd.DataFrame
    labels: npt.NDArray[np.bool_]
    days: npt.NDArray[np.datetime64]
    users: npt.NDArray[np.int64]
    points: npt.NDArray[np.object_] | None = None


@dataclass(frozen=True)
class TrainedPropensity:
    """A fitted pipeline, how it was chosen, and what it does on the held-out days."""

    pipeline: Pipeline
    candidate: Candidate
    split: TimeSplit
    validation: list[dict[str, Any]]
    evaluation: Evaluation
    by_point: dict[str, Evaluation] = field(default_factory=dict)

    @property
    def beats_base_rate(self) -> bool:
        """The held-out ROC-AUC lies above .5 with its whole interval."""
        low = self.evaluation.metrics["roc_auc"].low
        return low is not None and low > 0.5


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


# One thread: sums come out in the same order every time, so the same data give the same model; and threads that wait
# for each other on busy cores cost more than they bring.
@threadpool_limits.wrap(limits=1)
def train_propensity(data: TrainingSet, contract: FeatureContract, *, seed: int = 0) -> TrainedPropensity | NotTrained:
    """Fit every candidate on the oldest days, choose by log-loss on the next ones, judge on the last ones.

    The simplest family wins unless another is better by more than one standard error of the difference by user.
    The choice is refitted on train and validation days, and that model is evaluated and returned.
    """
    n_days = len(np.unique(data.days))
    if n_days < MIN_DAYS:
        return NotTrained(f"{n_days} days with sessions; at least {MIN_DAYS} are needed for a split by time")
    split = split_by_day(data.days)
    train, validation, test = split.train_mask(data.days), split.validation_mask(data.days), split.test_mask(data.days)
    for part, mask, needed in (
        ("the training days", train, MIN_TRAIN_POSITIVES),
        ("the held-out days", test, MIN_TEST_POSITIVES),
    ):
        purchases = _count_purchasing_sessions(data, mask)
        if purchases < needed:
            return NotTrained(f"{purchases} sessions with a purchase in {part}; at least {needed} are needed")
        if data.labels[mask].all():
            return NotTrained(f"every row of {part} has a purchase: there is nothing to tell apart")
    if not validation.any():
        return NotTrained("the validation days have no rows")

    candidate, table = _choose(data, contract, train, validation, seed)
    known = train | validation
    pipeline = candidate.build(contract, int(known.sum()), seed=seed)
    pipeline.fit(data.features[known], data.labels[known])
    scores = predict_propensity(pipeline, data.features[test])
    baseline = float(data.labels[known].mean())
    labels, users = data.labels[test], data.users[test]
    by_point = {}
    if data.points is not None:
        points = data.points[test]
        for point in sorted(set(points)):
            rows = points == point
            earlier = data.labels[known & (data.points == point)]
            by_point[point] = evaluate(
                labels[rows],
                scores[rows],
                users[rows],
                baseline=float(earlier.mean()) if len(earlier) else baseline,
                seed=seed,
            )
    return TrainedPropensity(
        pipeline=pipeline,
        candidate=candidate,
        split=split,
        validation=table,
        evaluation=evaluate(labels, scores, users, baseline=baseline, seed=seed),
        by_point=by_point,
    )


def _count_purchasing_sessions(data: TrainingSet, mask: npt.NDArray[np.bool_]) -> int:
    """Sessions with a purchase: a session has one row at each decision point, so the fullest point counts them."""
    if data.points is None:
        return int(data.labels[mask].sum())
    points = data.points[mask & data.labels]
    return max((int((points == point).sum()) for point in set(points)), default=0)


@threadpool_limits.wrap(limits=1)
def predict_propensity(pipeline: Pipeline, features: pd.DataFrame) -> Floats:
    """Purchase probabilities (n,) of feature rows (n, contract columns)."""
    probabilities: Floats = pipeline.predict_proba(features)[:, 1]
    return probabilities


def _choose(
    data: TrainingSet,
    contract: FeatureContract,
    train: npt.NDArray[np.bool_],
    validation: npt.NDArray[np.bool_],
    seed: int,
) -> tuple[Candidate, list[dict[str, Any]]]:
    labels = data.labels[validation]
    features = data.features[validation]
    best: dict[str, tuple[Candidate, Floats]] = {}
    table = []
    for candidate in list_candidates():
        pipeline = candidate.build(contract, int(train.sum()), seed=seed)
        pipeline.fit(data.features[train], data.labels[train])
        for fitted, probabilities in _stages(candidate, pipeline, features):
            losses = _row_log_losses(labels, probabilities)
            table.append({"family": fitted.family, **fitted.params, "log_loss": round(float(losses.mean()), 6)})
            held = best.get(fitted.family)
            if held is None or losses.mean() < held[1].mean():
                best[fitted.family] = (fitted, losses)
    (simple, simple_losses), *others = best.values()
    choice, choice_losses = simple, simple_losses
    for other, losses in others:
        gain, error = _mean_and_error_by_user(choice_losses - losses, data.users[validation])
        if gain > error:
            choice, choice_losses = other, losses
    return choice, table


def _stages(candidate: Candidate, pipeline: Pipeline, features: pd.DataFrame) -> list[tuple[Candidate, Floats]]:
    """Probabilities of a fitted candidate; for boosting, after every so many iterations (stopping by time order)."""
    if candidate.family == "logistic_regression":
        return [(candidate, predict_propensity(pipeline, features))]
    prepared = pipeline["prepare"].transform(features)
    return [
        (Candidate(candidate.family, {**candidate.params, "max_iter": iteration}), probabilities[:, 1])
        for iteration, probabilities in enumerate(pipeline["model"].staged_predict_proba(prepared), start=1)
        if iteration % BOOSTING_ITERATION_STEP == 0
    ]


def _row_log_losses(labels: npt.NDArray[np.bool_], probabilities: Floats) -> Floats:
    clipped = np.clip(probabilities, 1e-15, 1 - 1e-15)
    losses: Floats = -np.where(labels, np.log(clipped), np.log1p(-clipped))
    return losses


def _mean_and_error_by_user(differences: Floats, users: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean of row differences and its standard error, clustered by user (rows of one user are not independent)."""
    mean = float(differences.mean())
    _, codes = np.unique(users, return_inverse=True)
    sums = np.bincount(codes, weights=differences - mean)
    return mean, float(np.sqrt((sums**2).sum()) / len(differences))
