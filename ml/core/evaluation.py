"""Judge a model on the held-out periods: metrics, groups, baselines, the oracle's share, importance of features."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from ml.core.calibration import correct_base_rate
from ml.core.contract import FeatureContract
from ml.core.errors import TrainingDataError
from ml.core.metrics import Estimate, Evaluation, Flags, Floats, compare, evaluate, row_log_losses
from ml.core.propensity import PropensityModel, TrainingSet
from ml.core.split import TimeSplit

COMPARED = (
    "roc_auc",
    "average_precision",
    "brier",
    "lift_at_10_percent",
    "lift_at_20_percent",
)
MIN_GROUP_POSITIVES = 10
MAX_GROUPS = 12
FLAG_QUANTILES = (0.5, 0.8, 0.9, 0.95)
IMPORTANCE_ROWS = 2_000
BASE_RATE, BEST_FLAG, CHECKOUT_FLAG, CHAMPION = "base_rate", "best_flag", "checkout_flag", "champion"
CHECKOUT_COLUMN = "begin_checkouts"  # tables that have it are judged against "has reached the checkout" too
INFLATION_ROWS = 200_000

# By name of a group: to which level of it each row belongs, of the held-out rows and of those before.
Groups = dict[str, tuple[npt.NDArray[np.object_], npt.NDArray[np.object_]]]


@dataclass(frozen=True)
class FlagRule:
    """The one yes-or-no question that tells the label best: is `feature` at least `threshold`?"""

    feature: str
    threshold: float
    rate_yes: float
    rate_no: float

    def score(self, features: pd.DataFrame) -> Floats:
        """Its purchase rates on the training rows as scores (n,)."""
        yes = features[self.feature].to_numpy(dtype=np.float64) >= self.threshold
        return np.where(yes, self.rate_yes, self.rate_no)

    @property
    def description(self) -> str:
        """The question in words."""
        return f"{self.feature} ≥ {self.threshold:g}"


@dataclass(frozen=True)
class Judgement:
    """What a model does on the held-out periods, with scores as they would have been given day by day."""

    evaluation: Evaluation
    uncorrected: Evaluation  # without the trailing correction of the base rate
    by_group: dict[str, dict[str, Evaluation]]
    champion_by_group: dict[str, dict[str, Evaluation]]  # on the same rows, for the groups asked for
    baselines: dict[str, Evaluation]
    gains: dict[str, dict[str, Estimate]]  # the model minus each baseline
    flag: FlagRule | None
    oracle: dict[str, dict[str, Any]]  # per decision point: rows, AUC of the truth, and the share of AUC - .5 reached
    labels: Flags = field(repr=False)
    scores: Floats = field(repr=False)
    plain_scores: Floats = field(repr=False)
    flag_scores: Floats = field(repr=False)
    points: npt.NDArray[np.object_] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "metrics": self.evaluation.to_dict(),
            "metrics_uncorrected": self.uncorrected.to_dict(),
            "metrics_by_group": {
                group: {name: evaluation.to_dict() for name, evaluation in members.items()}
                for group, members in self.by_group.items()
            },
            "baselines": {name: evaluation.to_dict() for name, evaluation in self.baselines.items()},
            "gains": {
                name: {metric: estimate.to_dict() for metric, estimate in gains.items()}
                for name, gains in self.gains.items()
            },
            "best_flag": None if self.flag is None else self.flag.description,
            "oracle": self.oracle,
        }


@threadpool_limits.wrap(limits=1)
def judge(
    data: TrainingSet,
    model: PropensityModel,
    contract: FeatureContract,
    split: TimeSplit,
    *,
    champion: PropensityModel | None = None,
    compared_groups: Collection[str] = (),
    seed: int = 0,
) -> Judgement:
    """Evaluate `model` on the held-out rows of `data` as it would have scored them block by block.

    Every block is corrected with the blocks of its trailing window only. `champion` is judged on the same rows in the
    same way, in each of `compared_groups` too. Baselines besides it: the base rate, the best single flag and, where the
    table knows it, whether the session reached the checkout; all from the rows before the test. Rows of decision points
    without a model are left out. Raises `TrainingDataError` where no held-out row has a model.
    """
    known = data.take(split.known_mask(data.periods))
    test = data.take(split.test_mask(data.periods))
    plain, scores = _score_in_turn(data, split, model)
    has_score = np.isfinite(scores)
    if not has_score.any():
        raise TrainingDataError("no held-out row has a decision point with a model")
    test, plain, scores = test.take(has_score), plain[has_score], scores[has_score]
    labels, users, base = test.labels, test.users, float(known.labels.mean())

    def assess(values: Floats, rows: Flags | None = None, baseline: float = base) -> Evaluation:
        if rows is None:
            return evaluate(labels, values, users, baseline=baseline, seed=seed)
        return evaluate(labels[rows], values[rows], users[rows], baseline=baseline, seed=seed)

    evaluation = assess(scores)
    flag = find_best_flag(known, contract)
    rivals = _score_simply(known, test, contract, flag)
    if champion is not None:
        _, of_champion = _score_in_turn(data, split, champion)
        if np.isfinite(of_champion[has_score]).all():
            rivals[CHAMPION] = of_champion[has_score]
    baselines = {name: assess(values) for name, values in rivals.items()}
    groups = _list_groups(test, known)
    compared = {group: groups[group] for group in compared_groups if group in groups and CHAMPION in rivals}
    return Judgement(
        evaluation=evaluation,
        uncorrected=assess(plain),
        by_group=_assess_groups(groups, test, known, lambda *members: assess(scores, *members)),
        champion_by_group=_assess_groups(compared, test, known, lambda *members: assess(rivals[CHAMPION], *members)),
        baselines=baselines,
        gains={name: compare(evaluation, rival, COMPARED) for name, rival in baselines.items()},
        flag=flag,
        oracle=_compare_with_truth(test, scores, seed),
        labels=labels,
        scores=scores,
        plain_scores=plain,
        flag_scores=rivals.get(BEST_FLAG, rivals[BASE_RATE]),
        points=test.point_names,
    )


def _score_simply(
    known: TrainingSet, test: TrainingSet, contract: FeatureContract, flag: FlagRule | None
) -> dict[str, Floats]:
    """Scores of the held-out rows without a model, learned from the rows before: the base rate, and single flags."""
    rivals: dict[str, Floats] = {BASE_RATE: np.full(len(test.labels), float(known.labels.mean()))}
    if flag is not None:
        rivals[BEST_FLAG] = flag.score(test.features)
    knows_checkout = CHECKOUT_COLUMN in contract.names_of_kind("numeric", "flag")
    checkout = make_flag(known, CHECKOUT_COLUMN, 1.0) if knows_checkout else None
    if checkout is not None:
        rivals[CHECKOUT_FLAG] = checkout.score(test.features)
    return rivals


def compare_by_device(judgement: Judgement, group: str) -> dict[str, tuple[int, Estimate]]:
    """For each value of `group` with enough purchases: how many, and the model's ROC-AUC minus the champion's."""
    of_champion = judgement.champion_by_group.get(group, {})
    return {
        name: (evaluation.positives, compare(judgement.by_group[group][name], evaluation, ("roc_auc",))["roc_auc"])
        for name, evaluation in of_champion.items()
        if min(evaluation.positives, evaluation.n - evaluation.positives) >= MIN_GROUP_POSITIVES
    }


def _score_in_turn(data: TrainingSet, split: TimeSplit, model: PropensityModel) -> tuple[Floats, Floats]:
    """Scores of the held-out rows (m,), without and with each block's trailing correction; NaN without a model."""
    test = split.test_mask(data.periods)
    earliest = int(data.blocks[test].min()) - data.window.lag - data.window.length
    rows = np.flatnonzero(test | (data.blocks > earliest))
    near = data.take(rows)
    plain = model.predict(near.features, near.points)
    corrected, judged = np.full(len(rows), np.nan), np.isfinite(plain)
    corrected[judged] = correct_base_rate(plain[judged], near.labels[judged], near.blocks[judged], data.window)
    return plain[test[rows]], corrected[test[rows]]


def find_best_flag(data: TrainingSet, contract: FeatureContract) -> FlagRule | None:
    """The flag or thresholded number with the lowest log-loss on these rows; None where nothing varies."""
    best: tuple[float, FlagRule] | None = None
    for feature in contract.features:
        if feature.kind == "categorical":
            continue
        values = data.features[feature.name].to_numpy(dtype=np.float64)
        present = values[np.isfinite(values)]
        if not len(present):
            continue
        cuts = {1.0} if feature.kind == "flag" else {1.0, *np.quantile(present, FLAG_QUANTILES).tolist()}
        for cut in sorted(cuts):
            rule = make_flag(data, feature.name, float(cut))
            if rule is None:
                continue
            loss = float(row_log_losses(data.labels, rule.score(data.features)).mean())
            if best is None or loss < best[0]:
                best = loss, rule
    return None if best is None else best[1]


def make_flag(data: TrainingSet, feature: str, threshold: float) -> FlagRule | None:
    """Whether `feature` is at least `threshold`, with the purchase rates of these rows; None where all answer alike."""
    yes = data.features[feature].to_numpy(dtype=np.float64) >= threshold
    if yes.all() or not yes.any():
        return None
    return FlagRule(feature, threshold, float(data.labels[yes].mean()), float(data.labels[~yes].mean()))


def _list_groups(test: TrainingSet, known: TrainingSet) -> Groups:
    groups = {name: (values, known.groups[name]) for name, values in test.groups.items()}
    if test.points is not None and known.points is not None:
        return {"decision_point": (test.points, known.points), **groups}
    return groups


def _assess_groups(
    groups: Groups, test: TrainingSet, known: TrainingSet, assess: Callable[[Flags, float], Evaluation]
) -> dict[str, dict[str, Evaluation]]:
    """`assess` of the rows of each group's largest levels, against the levels' own rates before."""
    base = float(known.labels.mean())
    by_group: dict[str, dict[str, Evaluation]] = {}
    for group, (values, earlier) in groups.items():
        by_group[group] = {}
        for name in _largest_levels(values, test.labels):
            rate = known.labels[earlier == name]
            by_group[group][name] = assess(values == name, float(rate.mean()) if len(rate) else base)
    return by_group


def _largest_levels(values: npt.NDArray[np.object_], labels: Flags) -> list[Any]:
    """Up to 12 values with at least 10 positive rows each, in order of name."""
    names, counts = np.unique(values[labels].astype(str), return_counts=True)
    kept = sorted(zip(-counts, names, strict=True))[:MAX_GROUPS]
    return sorted((str(name) for count, name in kept if -count >= MIN_GROUP_POSITIVES), key=_natural)


def _natural(name: str) -> tuple[str, float, str]:
    head, _, tail = name.rpartition("_")
    return (head, float(tail), name) if tail.isdigit() else (name, 0.0, name)


def _compare_with_truth(test: TrainingSet, scores: Floats, seed: int) -> dict[str, dict[str, Any]]:
    """How much of the discrimination that is possible at all is reached: (AUC - .5) / (AUC of the truth - .5)."""
    if test.truth is None:
        return {}
    shares: dict[str, dict[str, Any]] = {}
    points = test.point_names
    for point in sorted(set(points), key=_natural):
        rows = (points == point) & np.isfinite(test.truth)
        if min(test.labels[rows].sum(), (~test.labels[rows]).sum()) < MIN_GROUP_POSITIVES:
            continue
        labels, users = test.labels[rows], test.users[rows]
        ours = evaluate(labels, scores[rows], users, baseline=0.5, seed=seed)
        truth = evaluate(labels, test.truth[rows], users, baseline=0.5, seed=seed)
        share = (ours.values[0] - 0.5) / (truth.values[0] - 0.5)
        low, high = np.nanquantile((ours.resamples[:, 0] - 0.5) / (truth.resamples[:, 0] - 0.5), [0.025, 0.975])
        shares[point] = {
            "n": int(rows.sum()),
            "positives": int(labels.sum()),
            "oracle_roc_auc": truth.metrics["roc_auc"].to_dict(),
            "share": Estimate(float(share), float(low), float(high)).to_dict(),
        }
    return shares


@threadpool_limits.wrap(limits=1)
def measure_importance(
    test: TrainingSet, model: PropensityModel, contract: FeatureContract, *, seed: int = 0
) -> dict[str, Estimate]:
    """How much ROC-AUC is lost when one feature is shuffled (permutation importance, Breiman 2001), largest first.

    Judged on whole users drawn from the held-out rows, about 2,000 of these; shuffled within a decision point. 95 %
    intervals from the influence of each user's rows (DeLong et al. 1988, clustered).
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.unique(test.users))
    sizes = np.bincount(np.searchsorted(np.sort(order), test.users))
    n_users = int(np.searchsorted(np.cumsum(sizes[np.searchsorted(np.sort(order), order)]), IMPORTANCE_ROWS)) + 1
    sample = test.take(np.isin(test.users, order[:n_users]) & np.isin(test.point_names, list(model.pipelines)))
    if min(sample.labels.sum(), (~sample.labels).sum()) < MIN_GROUP_POSITIVES:
        return {}
    points = sample.point_names
    used = {name for pipeline in model.pipelines.values() for name in pipeline.feature_names_in_}
    names = [name for name in contract.feature_names if name in used]
    # All shuffled copies in one frame: a pipeline costs far more per call than per row.
    n = len(points)
    copies = np.tile(np.arange(n), 1 + len(names))
    stacked = sample.features.iloc[copies].reset_index(drop=True)
    for copy, name in enumerate(names, start=1):
        taken = copies.copy()
        for point in model.pipelines:
            rows = np.flatnonzero(points == point)
            taken[copy * n + rows] = rng.permutation(rows)
        stacked[name] = sample.features[name].array.take(taken)
    scores = model.predict(stacked, None if sample.points is None else sample.points[copies]).reshape(-1, n)
    before, influence = _auc_with_influence(sample.labels, scores[0])
    _, codes = np.unique(sample.users, return_inverse=True)
    importances = {}
    for name, shuffled in zip(names, scores[1:], strict=True):
        after, its_influence = _auc_with_influence(sample.labels, shuffled)
        loss = before - after
        error = float(np.sqrt((np.bincount(codes, weights=influence - its_influence) ** 2).sum())) / n
        importances[name] = Estimate(loss, loss - 1.96 * error, loss + 1.96 * error)
    return dict(sorted(importances.items(), key=lambda item: -(item[1].value or 0.0)))


def _auc_with_influence(labels: Flags, scores: Floats) -> tuple[float, Floats]:
    """ROC-AUC, and how far each row moves it: n times the derivative by the row's weight (n,)."""
    positives, negatives = np.sort(scores[labels]), np.sort(scores[~labels])

    def share_below(values: Floats, of: Floats) -> Floats:
        both = np.searchsorted(of, values, side="left") + np.searchsorted(of, values, side="right")
        share: Floats = both / (2 * len(of))
        return share

    beaten = share_below(scores[labels], negatives)
    auc = float(beaten.mean())
    influence = np.empty(len(labels))
    influence[labels] = (beaten - auc) * len(labels) / len(positives)
    influence[~labels] = (1 - share_below(scores[~labels], positives) - auc) * len(labels) / len(negatives)
    return auc, influence


@threadpool_limits.wrap(limits=1)
def measure_variance_inflation(features: pd.DataFrame, contract: FeatureContract) -> dict[str, float]:
    """Variance inflation factor of each numeric feature that varies, largest first; infinite where it is redundant.

    VIF = 1 / (1 - R²) of the regression on all the others (Marquardt 1970), each as the logistic regression sees it
    (arcsinh); missing values count as the column's mean. Of more than 200,000 rows, evenly spread ones are taken.
    """
    features = features.iloc[:: 1 + len(features) // INFLATION_ROWS]
    names = [name for name in contract.names_of_kind("numeric") if features[name].nunique() > 1]
    if len(names) < 2:
        return {}
    values = np.arcsinh(features[names].to_numpy(dtype=np.float64))
    values = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    correlation = np.corrcoef(values, rowvar=False)
    factors = {}
    for column, name in enumerate(names):
        others = np.delete(np.arange(len(names)), column)
        weights, *_ = np.linalg.lstsq(correlation[np.ix_(others, others)], correlation[others, column], rcond=1e-10)
        unexplained = 1 - float(weights @ correlation[others, column])
        factors[name] = 1 / unexplained if unexplained > 1e-8 else float("inf")
    return dict(sorted(factors.items(), key=lambda item: -item[1]))
