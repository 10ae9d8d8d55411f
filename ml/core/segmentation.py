"""Behavioural segments: K-means on log-scaled session behaviour, k by stability, names by ordered rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from ml.core.contract import FeatureContract
from ml.core.metrics import Floats, wilson_interval
from ml.core.propensity import NotTrained

# What a visitor does on the way, never who they are, what they bought or how far down the funnel they came.
# One column per kind of behaviour: near-copies (distinct pages beside pages, the composite engagement score beside its
# parts) would count one behaviour twice in the distance.
BEHAVIOUR_FEATURES = (
    "page_views",
    "product_views",
    "repeat_product_views",
    "distinct_categories",
    "item_list_views",
    "searches",
    "promotion_views",
    "wishlist_adds",
    "max_scroll_percent",
    "engagement_seconds",
)
MIN_FEATURES = 3
MIN_SESSIONS = 1_000
CHOICES_OF_K = range(3, 9)
CHOICE_SAMPLE = 10_000
SILHOUETTE_SAMPLE = 4_000
FIT_SAMPLE = 50_000
BOOTSTRAPS = 10
MIN_MEDIAN_ARI = 0.85
MIN_LOW_ARI = 0.7
MIN_SEGMENT_SHARE = 0.05
MIN_SILHOUETTE_OF_BEST = 0.9
MIN_MOBILE_EXCESS = 0.02


@dataclass(frozen=True)
class NamingRule:
    """A name for a segment whose mean over `features`, in standard deviations from the average session, is extreme.

    With `direction` 1 it must be at least `threshold`, with -1 at most `-threshold`.
    """

    name: str
    features: tuple[str, ...]
    direction: int
    threshold: float

    def strength(self, profile: dict[str, float]) -> float | None:
        """How strongly a segment shows it, None where it does not or where none of the columns is there."""
        values = [profile[feature] for feature in self.features if feature in profile]
        if not values:
            return None
        strength = self.direction * sum(values) / len(values)
        return strength if strength >= self.threshold else None


_DEPTH = ("page_views", "product_views", "engagement_seconds")
SKIMMERS = "Low-intent skimmers"
MOBILE_SKIMMERS = "Mobile low-intent skimmers"
# In this order; each rule names the segment that shows it most among those without a name, and is used once.
NAMING_RULES = (
    NamingRule(SKIMMERS, _DEPTH, -1, 0.5),
    NamingRule("Wishlist planners", ("wishlist_adds",), 1, 1.0),
    NamingRule("Search-driven browsers", ("searches",), 1, 0.8),
    NamingRule("High-intent comparers", ("repeat_product_views",), 1, 0.8),
    NamingRule("Deal seekers", ("promotion_views",), 1, 0.8),
    NamingRule("Product explorers", ("product_views", "distinct_categories"), 1, 0.2),
    NamingRule("Category browsers", ("item_list_views", "distinct_categories"), 1, 0.1),
    NamingRule("Attentive readers", ("max_scroll_percent", "engagement_seconds"), 1, 0.1),
)
# For segments that no rule names, from the least to the most active.
PLAIN_NAMES = (
    "Passing visitors",
    "Brief browsers",
    "Light browsers",
    "Casual browsers",
    "Steady browsers",
    "Active browsers",
    "Busy browsers",
    "Tireless browsers",
)


@dataclass(frozen=True)
class SegmentationData:
    """Sessions (n rows) with all behaviour columns, and what may describe a segment but never make one."""

    features: pd.DataFrame
    labels: npt.NDArray[np.bool_]
    is_mobile: npt.NDArray[np.bool_] | None


@dataclass(frozen=True)
class Segment:
    """One segment of the training sessions; `conversion_*` are shares of its sessions with a purchase (Wilson 95 %)."""

    segment_id: int
    name: str
    size: int
    share: float
    conversion: float
    conversion_low: float
    conversion_high: float
    profile: dict[str, float]  # mean of each scaled feature: standard deviations from the average session

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, rounded."""
        return {
            "segment_id": self.segment_id,
            "name": self.name,
            "size": self.size,
            "share": round(self.share, 4),
            "conversion": round(self.conversion, 5),
            "conversion_low": round(self.conversion_low, 5),
            "conversion_high": round(self.conversion_high, 5),
            "profile": {name: round(value, 3) for name, value in self.profile.items()},
        }


@dataclass(frozen=True)
class TrainedSegments:
    """The fitted pipeline (its cluster numbers are the segment ids), the segments, and how k was chosen."""

    pipeline: Pipeline
    segments: list[Segment]
    choice: list[dict[str, Any]]
    k: int
    chosen_by: str


def behaviour_contract(contract: FeatureContract) -> FeatureContract:
    """The part of a contract that segments may use: numeric behaviour, never late funnel, context or history."""
    chosen = contract.select(BEHAVIOUR_FEATURES)
    allowed = [feature.name for feature in chosen.features if feature.kind == "numeric" and not feature.late_funnel]
    return contract.select(allowed)


@threadpool_limits.wrap(limits=1)  # as in train_propensity: the same result every time
def train_segments(data: SegmentationData, *, seed: int = 0) -> TrainedSegments | NotTrained:
    """Cluster sessions; the largest k of 3–8 that is stable, has no sliver and separates well.

    Rule: median adjusted Rand index of 10 bootstrap refits against the reference >= .85, its 10th percentile >= .7,
    smallest share >= 5 %, silhouette >= .9 of the best. Where no k meets it, the most stable k without a sliver.
    Segments are numbered from the least to the most active one.
    """
    n = len(data.features)
    if n < MIN_SESSIONS:
        return NotTrained(f"{n} sessions; at least {MIN_SESSIONS:,} are needed for segments")
    varying = [name for name in data.features.columns if data.features[name].fillna(0).nunique() > 1]
    if len(varying) < MIN_FEATURES:
        return NotTrained(
            f"only {len(varying)} of the behaviour columns vary ({', '.join(varying) or 'none'}); "
            f"at least {MIN_FEATURES} are needed"
        )
    rng = np.random.default_rng(seed)
    fit_rows = np.sort(rng.permutation(n)[:FIT_SAMPLE])
    scaling = Pipeline(
        [
            ("fill", SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)),
            ("log", FunctionTransformer(np.log1p)),
            ("scale", StandardScaler()),
        ]
    )
    points = scaling.fit_transform(data.features.iloc[fit_rows])
    n_distinct = len(np.unique(points[:CHOICE_SAMPLE], axis=0))
    if n_distinct <= 10 * max(CHOICES_OF_K):
        return NotTrained(f"the sessions show only {n_distinct} different behaviours: there is nothing to cluster")
    k, chosen_by, choice = _choose_k(points[rng.permutation(len(points))[:CHOICE_SAMPLE]], rng)
    if k is None:
        return NotTrained(f"every number of segments from 3 to 8 leaves one under {MIN_SEGMENT_SHARE:.0%} of sessions")
    model = KMeans(n_clusters=k, n_init=10, random_state=seed).fit(points)
    # Ids by activity, so that a reseeded fit of the same clusters gives the same ids.
    model.cluster_centers_ = np.ascontiguousarray(
        model.cluster_centers_[np.argsort(model.cluster_centers_.mean(axis=1), kind="stable")]
    )
    model.labels_ = model.predict(points).astype(np.int32)
    pipeline = Pipeline([*scaling.steps, ("model", model)])
    assigned = predict_segments(pipeline, data.features)
    return TrainedSegments(pipeline, _describe(data, assigned, model.cluster_centers_), choice, k, chosen_by)


@threadpool_limits.wrap(limits=1)
def predict_segments(pipeline: Pipeline, features: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Segment ids (n,) of behaviour rows (n, columns as in training)."""
    ids: npt.NDArray[np.int64] = pipeline.predict(features).astype(np.int64)
    return ids


def _choose_k(points: Floats, rng: np.random.Generator) -> tuple[int | None, str, list[dict[str, Any]]]:
    choice: list[dict[str, Any]] = []
    for k in CHOICES_OF_K:
        reference = KMeans(n_clusters=k, n_init=5, random_state=int(rng.integers(2**31))).fit(points)
        agreements = []
        for _ in range(BOOTSTRAPS):
            rows = rng.integers(0, len(points), len(points))
            refit = KMeans(n_clusters=k, n_init=3, random_state=int(rng.integers(2**31))).fit(points[rows])
            agreements.append(adjusted_rand_score(reference.labels_, refit.predict(points)))
        shares = np.bincount(reference.labels_, minlength=k) / len(points)
        silhouette = silhouette_score(
            points, reference.labels_, sample_size=min(SILHOUETTE_SAMPLE, len(points)), random_state=0
        )
        choice.append(
            {
                "k": k,
                "median_ari": round(float(np.median(agreements)), 4),
                "low_ari": round(float(np.quantile(agreements, 0.1)), 4),
                "smallest_share": round(float(shares.min()), 4),
                "silhouette": round(float(silhouette), 4),
            }
        )
    whole = [row for row in choice if row["smallest_share"] >= MIN_SEGMENT_SHARE]
    if not whole:
        return None, "", choice
    best_silhouette = max(row["silhouette"] for row in whole)
    sound = [
        row
        for row in whole
        if row["median_ari"] >= MIN_MEDIAN_ARI
        and row["low_ari"] >= MIN_LOW_ARI
        and row["silhouette"] >= MIN_SILHOUETTE_OF_BEST * best_silhouette
    ]
    if sound:
        return max(row["k"] for row in sound), "largest k that is stable and separates well", choice
    steadiest = max(whole, key=lambda row: (row["median_ari"], -row["k"]))
    return steadiest["k"], "no k meets the rule; the most stable one was taken", choice


def _describe(data: SegmentationData, assigned: npt.NDArray[np.int64], centers: Floats) -> list[Segment]:
    columns = list(data.features.columns)
    profiles = [dict(zip(columns, map(float, center), strict=True)) for center in centers]
    mobile_shares = None
    if data.is_mobile is not None:
        overall = float(data.is_mobile.mean())
        mobile_shares = [float(data.is_mobile[assigned == row].mean() - overall) for row in range(len(centers))]
    names = name_segments(profiles, mobile_shares)
    segments = []
    for segment_id, (name, profile) in enumerate(zip(names, profiles, strict=True)):
        members = assigned == segment_id
        size, purchases = int(members.sum()), int(data.labels[members].sum())
        low, high = wilson_interval(purchases, size)
        segments.append(
            Segment(segment_id, name, size, size / len(assigned), purchases / max(size, 1), low, high, profile)
        )
    return segments


def name_segments(profiles: list[dict[str, float]], mobile_excess: list[float] | None = None) -> list[str]:
    """Unique names for segments from their profiles (feature -> standard deviations from the average session).

    `mobile_excess` is each segment's share of mobile sessions minus the overall share.
    """
    names: dict[int, str] = {}
    for rule in NAMING_RULES:
        strengths = {
            row: strength
            for row, profile in enumerate(profiles)
            if row not in names and (strength := rule.strength(profile)) is not None
        }
        if strengths:
            row = max(strengths, key=lambda candidate: strengths[candidate])
            mobile = rule.name == SKIMMERS and mobile_excess is not None and mobile_excess[row] > MIN_MOBILE_EXCESS
            names[row] = MOBILE_SKIMMERS if mobile else rule.name
    unnamed = sorted(
        (row for row in range(len(profiles)) if row not in names), key=lambda row: sum(profiles[row].values())
    )
    offset = (len(PLAIN_NAMES) - len(unnamed)) // 2
    for position, row in enumerate(unnamed):
        names[row] = PLAIN_NAMES[offset + position]
    return [names[row] for row in range(len(profiles))]
