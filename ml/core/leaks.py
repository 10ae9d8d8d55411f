"""Leak checks: features that know what only the future can tell are found before a model is trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from ml.core.contract import FeatureContract
from ml.core.errors import TrainingDataError
from ml.core.metrics import Floats
from ml.core.propensity import draw_users

MAX_SINGLE_AUC = 0.95
# How far a visitor came is known before the purchase and tells nearly all: "has entered the payment" reaches .994
# without any leak. Only a column that is the label under another name goes beyond this.
MAX_LATE_FUNNEL_AUC = 0.999
MAX_ROWS = 50_000
MIN_ROWS_OF_A_CLASS = 20
PERMUTATION_ERRORS = 3.0

# What a feature may not be made of, by column name: the outcome, what follows from it, and what GA4 knows only later.
DENIED_COLUMNS = (
    "purchase",
    "purchased",
    "purchases",
    "refund",
    "revenue",
    "transaction",
    "order",
    "ecommerce",
    "coupon",
    "ltv",
    "lifetime",
    "confirmation",
    "thank",
    "label",
    "abandoned",
    "score",
    "propensity",
)
# The past of a device is no leak: these prefixes say that a column looks back from the session's start.
PAST_PREFIXES = ("previous_", "days_since_previous_")
KNOWN_GOOD = ("engagement_score",)

# Upstream columns that no feature model may name: outcome columns of events, orders and users.
DENIED_UPSTREAM = (
    "purchase_revenue_usd",
    "refund_value_usd",
    "refund_usd",
    "revenue_usd",
    "net_revenue_usd",
    "item_revenue_usd",
    "item_quantity",
    "transaction_id",
    "user_ltv",
    "lifetime",
    "is_cart_abandoned",
    "session_ended_at",
    "session_duration_seconds",
    "exit_page",
)
# Nodes whose rows know the whole history, the predictions, or the days after.
DENIED_NODES = (
    "dim_users",
    "fct_purchases",
    "int_user_purchases",
    "fct_session_scores",
    "session_predictions",
    "dim_segments",
    "fct_business_case",
)
DENIED_NODE_PREFIXES = ("agg_", "feat_")


@dataclass(frozen=True)
class LeakFinding:
    """One leak: which check found it, in which feature (None: in the whole), how strong, and a sentence about it."""

    check: str
    feature: str | None
    value: float | None
    limit: float | None
    message: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def check_leaks(
    features: pd.DataFrame,
    labels: npt.NDArray[np.bool_],
    users: npt.NDArray[np.int64],
    contract: FeatureContract,
    *,
    points: npt.NDArray[np.object_] | None = None,
    seed: int = 0,
) -> list[LeakFinding]:
    """Judge a training table before it is trained on; no finding means no leak that its columns could show.

    `features` (n rows, the contract's columns), `labels` (n,), `users` (n,) codes of visitors, `points` (n,) names of
    decision points or None. Found are columns whose names say that they hold the outcome, and columns that by
    themselves tell the label with an ROC-AUC above .95 (columns declared late funnel: .999), judged within each
    decision point. Large tables are judged on whole users drawn at random, about 50,000 rows.
    """
    return [
        *check_names(contract),
        *check_single_features(features, labels, users, contract, points=points, seed=seed),
    ]


def check_names(contract: FeatureContract) -> list[LeakFinding]:
    """A finding for each feature whose name holds a word of the outcome, unless it looks back to earlier sessions."""
    findings = []
    for name in contract.feature_names:
        if name.startswith(PAST_PREFIXES) or name in KNOWN_GOOD:
            continue
        denied = sorted(set(name.split("_")) & set(DENIED_COLUMNS))
        if denied:
            findings.append(
                LeakFinding("name", name, None, None, f"{name}: a feature may not be derived from: {', '.join(denied)}")
            )
    return findings


def check_single_features(
    features: pd.DataFrame,
    labels: npt.NDArray[np.bool_],
    users: npt.NDArray[np.int64],
    contract: FeatureContract,
    *,
    points: npt.NDArray[np.object_] | None = None,
    seed: int = 0,
) -> list[LeakFinding]:
    """A finding for each feature that tells the label nearly by itself; arguments as in `check_leaks`."""
    rows = np.flatnonzero(draw_users(users, MAX_ROWS, seed))
    groups: dict[str, npt.NDArray[np.int64]] = {"": rows}
    if points is not None:
        groups = {str(point): rows[points[rows] == point] for point in sorted(set(points[rows]))}
    findings = []
    for feature in contract.features:
        limit = MAX_LATE_FUNNEL_AUC if feature.late_funnel else MAX_SINGLE_AUC
        worst: tuple[float, str] | None = None
        for point, members in groups.items():
            auc = measure_single_auc(features[feature.name].iloc[members], labels[members], users[members])
            if auc is not None and auc > limit and (worst is None or auc > worst[0]):
                worst = (auc, point)
        if worst is not None:
            auc, point = worst
            where = f" at {point}" if point else ""
            message = f"{feature.name} alone predicts the label{where}: ROC-AUC {auc:.3f}, more than {limit}"
            findings.append(LeakFinding("single_feature", feature.name, round(auc, 6), limit, message))
    return findings


def measure_single_auc(values: pd.Series, labels: npt.NDArray[np.bool_], users: npt.NDArray[np.int64]) -> float | None:
    """ROC-AUC of one column against the label, in the better direction; None with under 20 rows of a class.

    A missing value counts as lowest or as highest, whichever tells more. Of a categorical column, each level's
    conversion is taken from the other half of the users, so that rare levels do not tell their own label.
    """
    if min(labels.sum(), (~labels).sum()) < MIN_ROWS_OF_A_CLASS:
        return None
    if not pd.api.types.is_numeric_dtype(values):
        return _auc(_encode_by_other_half(values, labels, users), labels)
    numbers = values.to_numpy(dtype=np.float64)
    aucs = [_auc(np.where(np.isnan(numbers), fill, numbers), labels) for fill in (-np.inf, np.inf)]
    return max(max(auc, 1 - auc) for auc in aucs)


def check_permuted_labels(
    fit_and_score: Callable[[pd.DataFrame, npt.NDArray[np.bool_], npt.NDArray[np.bool_]], Floats],
    features: pd.DataFrame,
    labels: npt.NDArray[np.bool_],
    is_train: npt.NDArray[np.bool_],
    *,
    seed: int = 0,
) -> list[LeakFinding]:
    """A finding if a model learns something from shuffled labels: then it, or its judging, sees the held-out labels.

    `fit_and_score(features, labels, is_train)` does all that is done to make scores, encodings included, and gives
    those of the rows that are not `is_train`. Their ROC-AUC must lie within three standard errors of .5; the error is
    that of no signal, sqrt((n1 + n0 + 1) / (12 n1 n0)) (Mann and Whitney 1947). Raises `ValueError` where the held-out
    rows lack an outcome.
    """
    shuffled = np.random.default_rng(seed).permutation(labels)
    held_out = ~is_train
    scores = fit_and_score(features, shuffled, is_train)
    truth = shuffled[held_out]
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if min(positives, negatives) == 0:
        raise TrainingDataError("the held-out rows need both outcomes to judge a model on shuffled labels")
    error = float(np.sqrt((positives + negatives + 1) / (12 * positives * negatives)))
    auc = _auc(scores, truth)
    limit = PERMUTATION_ERRORS * error
    if abs(auc - 0.5) <= limit:
        return []
    message = f"shuffled labels are predicted with ROC-AUC {auc:.3f}; .5 ± {limit:.3f} is what chance gives"
    return [LeakFinding("permuted_labels", None, round(auc, 6), round(0.5 + limit, 6), message)]


def compare_rows(
    before: pd.DataFrame, after: pd.DataFrame, keys: Sequence[str], *, check: str, ignore: Collection[str] = ()
) -> list[LeakFinding]:
    """A finding for each column whose rows differ between two tables that must agree, and one for rows that are gone.

    Both frames have the columns `keys`, which name a row; rows that only `after` has are no finding, and neither are
    the columns `ignore`. `check` names what was changed in between, for example `later_events`.
    """
    left, right = before.set_index(list(keys)).sort_index(), after.set_index(list(keys)).sort_index()
    gone = left.index.difference(right.index)
    findings = []
    if len(gone):
        message = f"{len(gone):,} of {len(left):,} rows are gone, for example {gone[0]}"
        findings.append(LeakFinding(check, None, float(len(gone)), 0.0, message))
    common = left.index.intersection(right.index)
    left, right = left.loc[common], right.loc[common]
    for column in [column for column in left.columns if column not in ignore]:
        old, new = left[column], right[column]
        changed = ~((old == new) | (old.isna() & new.isna())).fillna(False).to_numpy(dtype=bool)
        if changed.any():
            at = int(np.flatnonzero(changed)[0])
            message = (
                f"{column} differs in {int(changed.sum()):,} of {len(common):,} rows, for example at {common[at]}: "
                f"{old.iloc[at]} → {new.iloc[at]}"
            )
            findings.append(LeakFinding(check, column, float(changed.sum()), 0.0, message))
    return findings


def check_lineage(sql: Mapping[str, str], parents: Mapping[str, Collection[str]]) -> list[LeakFinding]:
    """A finding for each denied column or table that the SQL of a feature model names.

    `sql` is the compiled SQL of each model that makes features, by model name; `parents` what each of them reads.
    """
    findings = []
    for model, text in sorted(sql.items()):
        for parent in sorted(parents[model]):
            if parent in DENIED_NODES or parent.startswith(DENIED_NODE_PREFIXES):
                findings.append(LeakFinding("lineage", model, None, None, f"{model} reads {parent}, which knows more"))
        code = re.sub(r"--[^\n]*", "", text)
        for column in DENIED_UPSTREAM:
            if re.search(rf"(?<![A-Za-z0-9_]){column}(?![A-Za-z0-9_])", code):
                findings.append(LeakFinding("lineage", model, None, None, f"{model} names the column {column}"))
    return findings


def _encode_by_other_half(values: pd.Series, labels: npt.NDArray[np.bool_], users: npt.NDArray[np.int64]) -> Floats:
    levels = pd.factorize(values, use_na_sentinel=False)[0]
    half = users % 2 == 0
    encoded = np.full(len(levels), float(labels.mean()))
    for side in (half, ~half):
        counts = np.bincount(levels[~side], minlength=levels.max() + 1)
        positives = np.bincount(levels[~side], weights=labels[~side], minlength=levels.max() + 1)
        rates = (positives + labels.mean()) / (counts + 1)  # a level that the other half lacks says nothing
        encoded[side] = rates[levels[side]]
    return encoded


def _auc(scores: Floats, labels: npt.NDArray[np.bool_]) -> float:
    """ROC-AUC by the rank sum (Mann and Whitney 1947); ties count half."""
    positives = int(labels.sum())
    ranks = rankdata(scores)
    wins = ranks[labels].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * (len(labels) - positives)))
