"""Behavioural segments: K-means on log-scaled session behaviour, k by stability, names by ordered rules and kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Binarizer, FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from ml.core.contract import FeatureContract
from ml.core.metrics import Floats, wilson_interval
from ml.core.propensity import NotTrained

# What makes a segment: what a visitor does on the way, never who they are, what they bought or how far down the funnel
# they came. One column per kind of behaviour, and none that most sessions lack: with ten columns, near-copies among
# them and four of them zero in nine of ten sessions, K-means found another optimum in every second resample.
CLUSTER_FEATURES = ("page_views", "product_views", "searches", "engagement_seconds", "max_scroll_percent")
# What may describe and name a segment beside them.
DESCRIBING_FEATURES = (
    "repeat_product_views",
    "distinct_categories",
    "item_list_views",
    "promotion_views",
    "wishlist_adds",
)
# Sessions of a single moment are all alike: a quarter of the points on one spot pulls a centre at random. They are a
# segment of their own by definition.
MOMENT_FEATURE = "elapsed_seconds"
BEHAVIOUR_FEATURES = (*CLUSTER_FEATURES, *DESCRIBING_FEATURES, MOMENT_FEATURE)
MIN_FEATURES = 3
MIN_SESSIONS = 1_000
CHOICES_OF_K = range(3, 9)  # the fixed segment counts
CHOICE_SAMPLE = 10_000
SILHOUETTE_SAMPLE = 2_000
WARD_SAMPLE = 2_000
FIT_SAMPLE = 50_000
BOOTSTRAPS = 10
MIN_MEDIAN_ARI = 0.85
MIN_LOW_ARI = 0.7
MIN_SEGMENT_SHARE = 0.05
MIN_SILHOUETTE_OF_BEST = 0.9
MIN_MOBILE_EXCESS = 0.01
MIN_GAIN_OF_A_FRESH_FIT = 0.02  # of inertia: less does not justify other segments
_MOMENT_WEIGHT = 1_000.0  # farther than any behaviour, so that the fixed segment takes exactly its own


@dataclass(frozen=True)
class NamingRule:
    """A name for a segment whose mean percentile over `features` is extreme.

    A segment's percentile of a column is the mean rank of its sessions among all that are clustered, .5 = average.
    With `direction` 1 it must be at least `threshold`, with -1 at most.
    """

    name: str
    features: tuple[str, ...]
    direction: int
    threshold: float

    def strength(self, profile: Mapping[str, float]) -> float | None:
        """How strongly a segment shows it, None where it does not or where one of the columns is not there."""
        if any(feature not in profile for feature in self.features):
            return None
        value = sum(profile[feature] for feature in self.features) / len(self.features)
        strength = self.direction * (value - self.threshold)
        return strength if strength >= 0 else None


_DEPTH = ("page_views", "product_views", "engagement_seconds")
BOUNCED = "Bounced visitors"
SKIMMERS = "Low-intent skimmers"
MOBILE_SKIMMERS = "Mobile low-intent skimmers"
CARTS_LEFT = "carts_left"  # names a segment, never makes one
# In this order; each rule names the segment that shows it most among those without a name, and is used once.
NAMING_RULES = (
    NamingRule(SKIMMERS, _DEPTH, -1, 0.4),
    NamingRule("Window shoppers", _DEPTH, -1, 0.4),
    NamingRule("High-intent buyers", _DEPTH, 1, 0.75),
    NamingRule("Search-driven browsers", ("searches",), 1, 0.7),
    NamingRule("Cart hesitators", (CARTS_LEFT,), 1, 0.55),
    NamingRule("Wishlist planners", ("wishlist_adds",), 1, 0.6),
    NamingRule("Deal seekers", ("promotion_views",), 1, 0.62),
    NamingRule("Comparers", ("repeat_product_views",), 1, 0.58),
    NamingRule("Casual scrollers", ("max_scroll_percent",), 1, 0.65),
    NamingRule("Focused shoppers", ("product_views",), 1, 0.52),
    NamingRule("Category browsers", ("item_list_views",), 1, 0.55),
    NamingRule("Attentive readers", ("engagement_seconds",), 1, 0.5),
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
    """Sessions (n rows) with the behaviour columns, and what may describe a segment but never make one."""

    features: pd.DataFrame
    labels: npt.NDArray[np.bool_]
    is_mobile: npt.NDArray[np.bool_] | None
    has_cart: npt.NDArray[np.bool_] | None = None


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
    profile: dict[str, float]  # mean percentile of each column among the clustered sessions
    centroid: dict[str, float]  # mean of log(1 + x) of each clustered column
    is_fixed: bool = False  # defined, not found
    is_kept: bool = False  # id and name are those of the segments before

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form, rounded; the centroid whole, for the next training to match."""
        return {
            "segment_id": self.segment_id,
            "name": self.name,
            "size": self.size,
            "share": round(self.share, 4),
            "conversion": round(self.conversion, 5),
            "conversion_low": round(self.conversion_low, 5),
            "conversion_high": round(self.conversion_high, 5),
            "profile": {name: round(value, 3) for name, value in self.profile.items()},
            "centroid": self.centroid,
            "is_fixed": self.is_fixed,
            "is_kept": self.is_kept,
        }


@dataclass(frozen=True)
class PreviousSegments:
    """The segments of the champion: what a new training keeps ids and names from."""

    segments: tuple[Segment, ...]
    mean: dict[str, float]  # of log(1 + x), per clustered column
    scale: dict[str, float]
    next_id: int

    def to_dict(self) -> dict[str, Any]:
        """What the manifest keeps beside the segments."""
        return {"mean": self.mean, "scale": self.scale, "next_id": self.next_id}

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> PreviousSegments | None:
        """Read them from a manifest; None where it is of an older form, without centroids."""
        space = manifest.get("segment_space")
        if not space:
            return None
        segments = tuple(Segment(**segment) for segment in manifest["segments"])
        return cls(segments, dict(space["mean"]), dict(space["scale"]), int(space["next_id"]))


@dataclass(frozen=True)
class TrainedSegments:
    """The fitted pipeline (it predicts segment ids), the segments, how k was chosen, and how Ward's method agrees."""

    pipeline: Pipeline
    segments: list[Segment]
    choice: list[dict[str, Any]]
    k: int  # segments, the fixed one included
    chosen_by: str
    ward_ari: float
    space: PreviousSegments = field(repr=False)


def behaviour_contract(contract: FeatureContract) -> FeatureContract:
    """The part of a contract that segments may use: numeric behaviour, never late funnel, context or history."""
    chosen = contract.select(BEHAVIOUR_FEATURES)
    allowed = [feature.name for feature in chosen.features if feature.kind == "numeric" and not feature.late_funnel]
    return contract.select(allowed)


@threadpool_limits.wrap(limits=1)  # as in train_propensity: the same result every time
def train_segments(
    data: SegmentationData, *, previous: PreviousSegments | None = None, seed: int = 0
) -> TrainedSegments | NotTrained:
    """Cluster sessions; the largest k of 3–8 that is stable, has no sliver and separates well.

    Rule: median adjusted Rand index of 10 bootstrap refits against the reference >= .85, its 10th percentile >= .7,
    smallest share >= 5 % of all sessions, silhouette >= .9 of the best. Where no k meets it, the most stable k without
    a sliver. Sessions of a single moment are one fixed segment where they are 5 % of all.

    With `previous`, its k stays while it meets the rule's first three parts, and the fit starts from its centroids. Ids
    and names go to the nearest new centroid (Hungarian matching in the previous standardised space); a segment farther
    off than half the smallest gap between the previous centroids is a new one, with a new id and a new name.
    """
    n = len(data.features)
    if n < MIN_SESSIONS:
        return NotTrained(f"{n} sessions; at least {MIN_SESSIONS:,} are needed for segments")
    columns = [name for name in CLUSTER_FEATURES if name in data.features.columns]
    varying = [name for name in columns if data.features[name].fillna(0).nunique() > 1]
    if len(varying) < MIN_FEATURES:
        return NotTrained(
            f"only {len(varying)} of the columns that make segments vary ({', '.join(varying) or 'none'}); "
            f"at least {MIN_FEATURES} are needed"
        )
    moment = _find_moments(data.features)
    has_fixed = bool(moment.mean() >= MIN_SEGMENT_SHARE)
    clustered = ~moment if has_fixed else np.ones(n, dtype=bool)
    rng = np.random.default_rng(seed)
    fit_rows = np.sort(rng.permutation(np.flatnonzero(clustered))[:FIT_SAMPLE])
    prepare = _build_preparation(varying, has_fixed)
    points = prepare.fit_transform(data.features.iloc[fit_rows])[:, : len(varying)]
    n_distinct = len(np.unique(points[:CHOICE_SAMPLE], axis=0))
    if n_distinct <= 10 * max(CHOICES_OF_K):
        return NotTrained(f"the sessions show only {n_distinct} different behaviours: there is nothing to cluster")
    scaler: StandardScaler = prepare.named_transformers_["shape"]["scale"]
    start = _start_from(previous, varying, scaler)
    share = float(clustered.mean())
    sample = points[rng.permutation(len(points))[:CHOICE_SAMPLE]]
    found, chosen_by, choice = _choose_k(sample, share, has_fixed, start, seed)
    if found is None:
        return NotTrained(f"every number of segments from 3 to 8 leaves one under {MIN_SEGMENT_SHARE:.0%} of sessions")
    centers = _finish(points, found)
    k = len(centers) + has_fixed
    labels = _nearest(points, centers)
    ward = points[:WARD_SAMPLE]
    ward_labels = AgglomerativeClustering(n_clusters=k - has_fixed, linkage="ward").fit_predict(ward)
    centroids = scaler.inverse_transform(np.array([points[labels == row].mean(axis=0) for row in range(len(centers))]))
    order = np.argsort(centers.mean(axis=1), kind="stable")  # ids by activity, the same whatever the seed
    centers, centroids = centers[order], centroids[order]
    drafts = _describe(data, varying, clustered, _nearest_rows(prepare, data.features, varying, centers), centroids)
    segments, next_id = _keep_names(drafts, previous, varying)
    if has_fixed:
        segments, next_id = _add_fixed(data, moment, segments, previous, next_id)
    pipeline = _build_pipeline(prepare, centers, segments, has_fixed)
    return TrainedSegments(
        pipeline=pipeline,
        segments=sorted(segments, key=lambda segment: segment.segment_id),
        choice=choice,
        k=k,
        chosen_by=chosen_by,
        ward_ari=round(float(adjusted_rand_score(labels[:WARD_SAMPLE], ward_labels)), 4),
        space=PreviousSegments(
            tuple(segments),
            dict(zip(varying, map(float, scaler.mean_), strict=True)),
            dict(zip(varying, map(float, scaler.scale_), strict=True)),
            next_id,
        ),
    )


@threadpool_limits.wrap(limits=1)
def predict_segments(pipeline: Pipeline, features: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Segment ids (n,) of behaviour rows (n, columns as in training)."""
    ids: npt.NDArray[np.int64] = pipeline.predict(features).astype(np.int64)
    return ids


def _find_moments(features: pd.DataFrame) -> npt.NDArray[np.bool_]:
    if MOMENT_FEATURE not in features.columns:
        return np.zeros(len(features), dtype=bool)
    moments: npt.NDArray[np.bool_] = (features[MOMENT_FEATURE].fillna(0) <= 0).to_numpy()
    return moments


def _build_preparation(columns: list[str], has_fixed: bool) -> ColumnTransformer:
    shape = Pipeline(
        [
            ("fill", SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)),
            ("log", FunctionTransformer(np.log1p)),
            ("scale", StandardScaler()),
        ]
    )
    lasting = Pipeline(
        [("fill", SimpleImputer(strategy="constant", fill_value=0.0)), ("lasts", Binarizer(threshold=0.0))]
    )
    steps: list[tuple[str, Any, list[str]]] = [("shape", shape, columns)]
    if has_fixed:
        steps.append(("lasting", lasting, [MOMENT_FEATURE]))
    return ColumnTransformer(steps, transformer_weights={"lasting": _MOMENT_WEIGHT} if has_fixed else None)


def _build_pipeline(prepare: ColumnTransformer, centers: Floats, segments: list[Segment], has_fixed: bool) -> Pipeline:
    """Nearest centre, with the segments' own ids: `segments` come in the order of the centres, the fixed one last."""
    if has_fixed:
        lasting = np.full((len(centers), 1), _MOMENT_WEIGHT)
        fixed = np.zeros((1, centers.shape[1] + 1))
        centers = np.vstack([np.hstack([centers, lasting]), fixed])
    nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    nearest.fit(centers, [segment.segment_id for segment in segments])
    return Pipeline([("prepare", prepare), ("model", nearest)])


def _start_from(previous: PreviousSegments | None, columns: list[str], scaler: StandardScaler) -> Floats | None:
    """The previous centroids in the new standardised space; None where they are of other columns."""
    if previous is None or set(previous.mean) != set(columns):
        return None
    found = [segment for segment in previous.segments if not segment.is_fixed]
    centroids = np.array([[segment.centroid[name] for name in columns] for segment in found])
    start: Floats = scaler.transform(centroids)
    return start


def _search(
    points: Floats, k: int, n_init: int, start: Floats | None, rng: np.random.Generator, *, gain: float = 0.0
) -> tuple[KMeans, Floats]:
    """The best fit of `n_init` random starts, or that from `start` unless they are better by a share of `gain`.

    With it, the centres that a fit on more points should start from.
    """
    best = KMeans(n_clusters=k, n_init=n_init, random_state=int(rng.integers(2**31))).fit(points)
    if start is not None:
        near = KMeans(n_clusters=k, init=start, n_init=1).fit(points)
        if near.inertia_ <= best.inertia_ * (1 + gain):
            return near, start
    return best, best.cluster_centers_


def _finish(points: Floats, start: Floats) -> Floats:
    """Centres (k, columns) that `start` leads to, to the very end: a fit that starts from its result stays there."""
    centers: Floats = (
        KMeans(n_clusters=len(start), init=start, n_init=1, max_iter=1_000, tol=0).fit(points).cluster_centers_
    )
    return centers


def _nearest(points: Floats, centers: Floats) -> npt.NDArray[np.int64]:
    distances = ((points[:, None, :] - centers[None]) ** 2).sum(axis=2)
    nearest: npt.NDArray[np.int64] = distances.argmin(axis=1)
    return nearest


def _nearest_rows(
    prepare: ColumnTransformer, features: pd.DataFrame, columns: list[str], centers: Floats
) -> npt.NDArray[np.int64]:
    return _nearest(prepare.transform(features)[:, : len(columns)], centers)


def _choose_k(
    points: Floats, share: float, has_fixed: bool, start: Floats | None, seed: int
) -> tuple[Floats | None, str, list[dict[str, Any]]]:
    """Centres of the clusters to start the fit from, why so many, and what was measured for each number.

    `share` of all sessions are clustered; `start` has the centres before.
    """
    choice: list[dict[str, Any]] = []
    centers: dict[int, Floats] = {}

    def judge(k: int, known: Floats | None = None) -> dict[str, Any]:
        row, centers[k] = _judge(points, k - has_fixed, share, has_fixed, seed, known)
        return row

    before = 0 if start is None else len(start) + has_fixed
    if before in CHOICES_OF_K:
        row = judge(before, start)
        choice.append(row)
        if _is_stable(row) and row["smallest_share"] >= MIN_SEGMENT_SHARE:
            return centers[before], "as many as before, still stable", choice
    choice += [judge(k) for k in CHOICES_OF_K if k not in centers]
    choice.sort(key=lambda row: row["k"])
    whole = [row for row in choice if row["smallest_share"] >= MIN_SEGMENT_SHARE]
    if not whole:
        return None, "", choice
    best_silhouette = max(row["silhouette"] for row in whole)
    sound = [
        row["k"] for row in whole if _is_stable(row) and row["silhouette"] >= MIN_SILHOUETTE_OF_BEST * best_silhouette
    ]
    if sound:
        return centers[max(sound)], "largest k that is stable and separates well", choice
    if before in {row["k"] for row in whole}:
        return centers[before], "no k meets the rule; as many as before", choice
    steadiest = max(whole, key=lambda row: (row["median_ari"], -row["k"]))
    return centers[steadiest["k"]], "no k meets the rule; the most stable one was taken", choice


def _is_stable(row: Mapping[str, Any]) -> bool:
    return bool(row["median_ari"] >= MIN_MEDIAN_ARI and row["low_ari"] >= MIN_LOW_ARI)


def _judge(
    points: Floats, k: int, share: float, has_fixed: bool, seed: int, start: Floats | None
) -> tuple[dict[str, Any], Floats]:
    rng = np.random.default_rng([seed, k])  # what is found for one k does not hang on the others
    # A search that got stuck says nothing about the data: both fits also start from what is known to be good.
    reference, origin = _search(points, k, 10, start, rng, gain=MIN_GAIN_OF_A_FRESH_FIT)
    agreements = []
    for _ in range(BOOTSTRAPS):
        resample = points[rng.integers(0, len(points), len(points))]
        refit, _ = _search(resample, k, 3, reference.cluster_centers_, rng)
        agreements.append(adjusted_rand_score(reference.labels_, refit.predict(points)))
    shares = np.bincount(reference.labels_, minlength=k) / len(points) * share
    silhouette = silhouette_score(
        points, reference.labels_, sample_size=min(SILHOUETTE_SAMPLE, len(points)), random_state=0
    )
    row = {
        "k": k + has_fixed,
        "median_ari": round(float(np.median(agreements)), 4),
        "low_ari": round(float(np.quantile(agreements, 0.1)), 4),
        "smallest_share": round(float(shares.min()), 4),
        "silhouette": round(float(silhouette), 4),
    }
    return row, origin


def _describe(
    data: SegmentationData,
    columns: list[str],
    clustered: npt.NDArray[np.bool_],
    assigned: npt.NDArray[np.int64],
    centroids: Floats,
) -> list[Segment]:
    """The segments in the order of their centroids, with ids 1, 2, … and the names that the rules give."""
    describing = [name for name in data.features.columns if name != MOMENT_FEATURE]
    measures = {name: data.features[name].fillna(0).to_numpy(dtype=np.float64)[clustered] for name in describing}
    if data.has_cart is not None:
        measures[CARTS_LEFT] = (data.has_cart & ~data.labels)[clustered].astype(np.float64)
    ranks = {name: (rankdata(values) - 0.5) / len(values) for name, values in measures.items()}
    groups = assigned[clustered]
    profiles = [
        {name: float(rank[groups == row].mean()) for name, rank in ranks.items()} for row in range(len(centroids))
    ]
    mobile = None
    if data.is_mobile is not None:
        is_mobile = data.is_mobile[clustered]
        mobile = [float(is_mobile[groups == row].mean() - data.is_mobile.mean()) for row in range(len(centroids))]
    names = name_segments(profiles, mobile)
    return [
        _measure_segment(
            data,
            clustered & (assigned == row),
            segment_id=row + 1,
            name=names[row],
            profile=profiles[row],
            centroid=dict(zip(columns, map(float, centroids[row]), strict=True)),
        )
        for row in range(len(centroids))
    ]


def _measure_segment(data: SegmentationData, members: npt.NDArray[np.bool_], **known: Any) -> Segment:
    size, purchases = int(members.sum()), int(data.labels[members].sum())
    low, high = wilson_interval(purchases, size)
    return Segment(
        size=size,
        share=size / len(members),
        conversion=purchases / max(size, 1),
        conversion_low=low,
        conversion_high=high,
        **known,
    )


def _add_fixed(
    data: SegmentationData,
    moment: npt.NDArray[np.bool_],
    segments: list[Segment],
    previous: PreviousSegments | None,
    next_id: int,
) -> tuple[list[Segment], int]:
    before = [segment for segment in (previous.segments if previous else ()) if segment.is_fixed]
    segment_id = before[0].segment_id if before else next_id
    fixed = _measure_segment(
        data,
        moment,
        segment_id=segment_id,
        name=BOUNCED,
        profile={},
        centroid={},
        is_fixed=True,
        is_kept=bool(before),
    )
    return [*segments, fixed], max(next_id, segment_id + 1)


def _keep_names(
    drafts: list[Segment], previous: PreviousSegments | None, columns: list[str]
) -> tuple[list[Segment], int]:
    """Give ids and names of the previous segments to those that are still the same ones."""
    if previous is None or set(previous.mean) != set(columns):
        first = 1 if previous is None else previous.next_id
        kept = [_rename(segment, first + row, segment.name) for row, segment in enumerate(drafts)]
        return kept, first + len(drafts)
    found = [segment for segment in previous.segments if not segment.is_fixed]
    matches = match_segments(
        np.array([[segment.centroid[name] for name in columns] for segment in found]),
        np.array([[segment.centroid[name] for name in columns] for segment in drafts]),
        np.array([previous.scale[name] for name in columns]),
    )
    taken = {segment.name for segment in previous.segments}
    next_id = previous.next_id
    kept = []
    for row, draft in enumerate(drafts):
        if row in matches:
            same = found[matches[row]]
            kept.append(_rename(draft, same.segment_id, same.name, is_kept=True))
        else:
            name = draft.name if draft.name not in taken else _new_name(draft, taken)
            taken.add(name)
            kept.append(_rename(draft, next_id, name))
            next_id += 1
    return kept, next_id


def match_segments(previous: Floats, new: Floats, scale: Floats) -> dict[int, int]:
    """Which new centroid (row) is which previous one (row): `{new row: previous row}`, at most one each.

    Centroids (segments, columns) are divided by `scale` (columns,). The assignment minimises the sum of distances
    (Kuhn 1955); a pair farther apart than half the smallest distance between two previous centroids is no match.
    """
    old, now = previous / scale, new / scale
    distances = np.sqrt(((now[:, None, :] - old[None]) ** 2).sum(axis=2))
    gaps = np.sqrt(((old[:, None, :] - old[None]) ** 2).sum(axis=2))
    limit = gaps[~np.eye(len(old), dtype=bool)].min() / 2 if len(old) > 1 else np.inf
    rows, columns = linear_sum_assignment(distances)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if distances[row, column] <= limit}


def _rename(segment: Segment, segment_id: int, name: str, *, is_kept: bool = False) -> Segment:
    return Segment(**{**vars(segment), "segment_id": segment_id, "name": name, "is_kept": is_kept})


def _new_name(segment: Segment, taken: Collection[str]) -> str:
    """A name that no other segment has or had a moment ago: of the rules that fit, else a plain one, else numbered."""
    fitting = [rule.name for rule in NAMING_RULES if rule.strength(segment.profile) is not None]
    for name in (*fitting, *PLAIN_NAMES):
        if name not in taken:
            return name
    number = 2
    while f"{segment.name} {number}" in taken:
        number += 1
    return f"{segment.name} {number}"


def name_segments(profiles: list[dict[str, float]], mobile_excess: list[float] | None = None) -> list[str]:
    """Unique names for segments from their profiles (column -> mean percentile of their sessions, 0–1).

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
