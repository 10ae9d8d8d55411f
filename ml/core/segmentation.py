"""Behavioural segments: K-means on log-scaled session behaviour, and one segment that is there by definition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Binarizer, FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from ml.core.contract import FeatureContract
from ml.core.metrics import Flags, Floats, wilson_interval
from ml.core.propensity import NotTrained
from ml.core.segment_count import CHOICES_OF_K, MIN_SEGMENT_SHARE, choose_k
from ml.core.segment_names import CARTS_LEFT, keep_names, name_segments
from ml.core.segments import Segment, SegmentSet

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
BOUNCED = "Bounced visitors"
MIN_FEATURES = 3
MIN_SESSIONS = 1_000
CHOICE_SAMPLE = 10_000
WARD_SAMPLE = 2_000
FIT_SAMPLE = 50_000
_MOMENT_WEIGHT = 1_000.0  # farther than any behaviour, so that the fixed segment takes exactly its own


@dataclass(frozen=True)
class SegmentationData:
    """Sessions (n rows) with the behaviour columns, and what may describe a segment but never make one."""

    features: pd.DataFrame
    labels: npt.NDArray[np.bool_]
    is_mobile: npt.NDArray[np.bool_] | None
    has_cart: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class TrainedSegments:
    """The fitted pipeline (it predicts segment ids), the segments, how k was chosen, and how Ward's method agrees."""

    pipeline: Pipeline
    found: SegmentSet = field(repr=False)
    choice: list[dict[str, Any]]
    k: int  # segments, the fixed one included
    chosen_by: str
    ward_ari: float

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, by id."""
        return self.found.segments


@dataclass(frozen=True)
class _Space:
    """The standardised space in which sessions are clustered, and where they lie in it."""

    columns: list[str]
    prepare: ColumnTransformer
    moment: Flags  # (n,) sessions of a single moment
    has_fixed: bool  # they are a segment of their own, and not clustered
    points: Floats  # (at most FIT_SAMPLE, columns) of clustered sessions

    @property
    def clustered(self) -> Flags:
        """The sessions (n,) that are clustered."""
        return ~self.moment if self.has_fixed else np.ones(len(self.moment), dtype=bool)

    @property
    def scaler(self) -> StandardScaler:
        """What makes the columns alike."""
        scaler: StandardScaler = self.prepare.named_transformers_["shape"]["scale"]
        return scaler

    def place(self, features: pd.DataFrame) -> Floats:
        """Where sessions lie, (n, columns)."""
        points: Floats = self.prepare.transform(features)[:, : len(self.columns)]
        return points


def behaviour_contract(contract: FeatureContract) -> FeatureContract:
    """The part of a contract that segments may use: numeric behaviour, never late funnel, context or history."""
    chosen = contract.select(BEHAVIOUR_FEATURES)
    allowed = [feature.name for feature in chosen.features if feature.kind == "numeric" and not feature.late_funnel]
    return contract.select(allowed)


@threadpool_limits.wrap(limits=1)  # as in train_propensity: the same result every time
def train_segments(
    data: SegmentationData, *, previous: SegmentSet | None = None, seed: int = 0
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
    rng = np.random.default_rng(seed)
    space = _make_space(data.features, varying, rng)
    n_distinct = len(np.unique(space.points[:CHOICE_SAMPLE], axis=0))
    if n_distinct <= 10 * max(CHOICES_OF_K):
        return NotTrained(f"the sessions show only {n_distinct} different behaviours: there is nothing to cluster")
    sample = space.points[rng.permutation(len(space.points))[:CHOICE_SAMPLE]]
    start = _start_from(previous, space)
    found, chosen_by, choice = choose_k(sample, float(space.clustered.mean()), space.has_fixed, start, seed)
    if found is None:
        return NotTrained(f"every number of segments from 3 to 8 leaves one under {MIN_SEGMENT_SHARE:.0%} of sessions")
    centers = _finish(space.points, found)
    labels = _nearest(space.points, centers)
    ward = AgglomerativeClustering(n_clusters=len(centers), linkage="ward").fit_predict(space.points[:WARD_SAMPLE])
    pipeline, segments = _name_centers(data, space, centers, labels, previous)
    return TrainedSegments(
        pipeline=pipeline,
        found=segments,
        choice=choice,
        k=len(centers) + space.has_fixed,
        chosen_by=chosen_by,
        ward_ari=round(float(adjusted_rand_score(labels[:WARD_SAMPLE], ward)), 4),
    )


@threadpool_limits.wrap(limits=1)
def predict_segments(pipeline: Pipeline, features: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Segment ids (n,) of behaviour rows (n, columns as in training)."""
    ids: npt.NDArray[np.int64] = pipeline.predict(features).astype(np.int64)
    return ids


def _make_space(features: pd.DataFrame, columns: list[str], rng: np.random.Generator) -> _Space:
    moment = _find_moments(features)
    has_fixed = bool(moment.mean() >= MIN_SEGMENT_SHARE)
    clustered = ~moment if has_fixed else np.ones(len(features), dtype=bool)
    fit_rows = np.sort(rng.permutation(np.flatnonzero(clustered))[:FIT_SAMPLE])
    prepare = _build_preparation(columns, has_fixed)
    points = prepare.fit_transform(features.iloc[fit_rows])[:, : len(columns)]
    return _Space(columns, prepare, moment, has_fixed, points)


def _find_moments(features: pd.DataFrame) -> Flags:
    if MOMENT_FEATURE not in features.columns:
        return np.zeros(len(features), dtype=bool)
    moments: Flags = (features[MOMENT_FEATURE].fillna(0) <= 0).to_numpy()
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


def _build_pipeline(space: _Space, centers: Floats, segments: list[Segment]) -> Pipeline:
    """Nearest centre, with the segments' own ids: `segments` come in the order of the centres, the fixed one last."""
    if space.has_fixed:
        lasting = np.full((len(centers), 1), _MOMENT_WEIGHT)
        fixed = np.zeros((1, centers.shape[1] + 1))
        centers = np.vstack([np.hstack([centers, lasting]), fixed])
    nearest = KNeighborsClassifier(n_neighbors=1, algorithm="brute")
    nearest.fit(centers, [segment.segment_id for segment in segments])
    return Pipeline([("prepare", space.prepare), ("model", nearest)])


def _start_from(previous: SegmentSet | None, space: _Space) -> Floats | None:
    """The previous centroids in the new standardised space; None where they are of other columns."""
    if previous is None or set(previous.mean) != set(space.columns):
        return None
    found = [segment for segment in previous.segments if not segment.is_fixed]
    centroids = np.array([[segment.centroid[name] for name in space.columns] for segment in found])
    start: Floats = space.scaler.transform(centroids)
    return start


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


def _name_centers(
    data: SegmentationData,
    space: _Space,
    centers: Floats,
    labels: npt.NDArray[np.int64],
    previous: SegmentSet | None,
) -> tuple[Pipeline, SegmentSet]:
    """The segments around the centres, with ids and names, and the pipeline that finds them."""
    means = np.array([space.points[labels == row].mean(axis=0) for row in range(len(centers))])
    order = np.argsort(centers.mean(axis=1), kind="stable")  # ids by activity, the same whatever the seed
    centers, centroids = centers[order], space.scaler.inverse_transform(means)[order]
    drafts = _describe(data, space, _nearest(space.place(data.features), centers), centroids)
    segments, next_id = keep_names(drafts, previous, space.columns)
    if space.has_fixed:
        segments, next_id = _add_fixed(data, space.moment, segments, previous, next_id)
    return _build_pipeline(space, centers, segments), SegmentSet(
        tuple(sorted(segments, key=lambda segment: segment.segment_id)),
        dict(zip(space.columns, map(float, space.scaler.mean_), strict=True)),
        dict(zip(space.columns, map(float, space.scaler.scale_), strict=True)),
        next_id,
    )


def _describe(
    data: SegmentationData, space: _Space, assigned: npt.NDArray[np.int64], centroids: Floats
) -> list[Segment]:
    """The segments in the order of their centroids, with ids 1, 2, … and the names that the rules give."""
    clustered = space.clustered
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
            centroid=dict(zip(space.columns, map(float, centroids[row]), strict=True)),
        )
        for row in range(len(centroids))
    ]


def _measure_segment(data: SegmentationData, members: Flags, **known: Any) -> Segment:
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
    moment: Flags,
    segments: list[Segment],
    previous: SegmentSet | None,
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
