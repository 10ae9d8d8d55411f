"""How many segments: the largest number that refits on resampled sessions find again, and that separates well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from ml.core.metrics import Floats

CHOICES_OF_K = range(3, 9)  # the fixed segment counts
SILHOUETTE_SAMPLE = 2_000
BOOTSTRAPS = 10
MIN_MEDIAN_ARI = 0.85
MIN_LOW_ARI = 0.7
MIN_SEGMENT_SHARE = 0.05
MIN_SILHOUETTE_OF_BEST = 0.9
MIN_GAIN_OF_A_FRESH_FIT = 0.02  # of inertia: less does not justify other segments


def choose_k(
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
        return centers[before], "no k meets the rule; kept as many as before", choice
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
