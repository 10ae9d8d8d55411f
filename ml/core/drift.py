"""Drift of a champion's world: features by PSI against its own null, the base rate, and calibration."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from foundation.errors import FunnelhouseError
from ml.core.contract import FeatureContract
from ml.core.metrics import Floats

N_BINS = 10
N_SIMULATIONS = 500
NULL_QUANTILE = 0.99
MIN_PSI = 0.1  # below, a difference that chance does not explain is still too small to matter
RARE_LEVEL_SHARE = 0.01
MIN_REFERENCE_DAYS = 7
Z_99 = 2.5758
MIN_RATE_CHANGE = 0.2  # of the rate itself
SLOPE_RANGE = (0.8, 1.2)
MIN_POSITIVES = 50


class TooFewDaysError(FunnelhouseError):
    """There are not enough days to tell drift from chance."""


@dataclass(frozen=True)
class FeatureDrift:
    """Population stability index of one feature, and the limit it is judged by."""

    feature: str
    psi: float
    null_99: float  # 99th percentile of what as many days of the reference give
    limit: float
    has_drifted: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass(frozen=True)
class RateDrift:
    """The share of purchases then and now; `z` with the spread between days taken into account."""

    reference_rate: float
    current_rate: float
    z: float
    has_drifted: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


@dataclass(frozen=True)
class CalibrationDrift:
    """Observed over predicted purchases, and the slope of the outcome on the score's log odds; 95 % intervals."""

    n: int
    observed: int
    expected: float
    ratio: float
    ratio_low: float
    ratio_high: float
    slope: float
    slope_low: float
    slope_high: float
    has_drifted: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def measure_feature_drift(
    reference: pd.DataFrame,
    reference_days: npt.NDArray[np.datetime64],
    current: pd.DataFrame,
    current_days: npt.NDArray[np.datetime64],
    contract: FeatureContract,
    *,
    seed: int = 0,
) -> list[FeatureDrift]:
    """PSI of each feature of `current` (m rows) against `reference` (n rows), the largest first.

    PSI = sum over bins of (c - r) ln(c / r) (Siddiqi 2006), with ten bins of equal count in the reference, a bin for
    missing values, and of a category each level above 1 %. A fixed threshold misleads: few rows, or days that differ
    among themselves, exceed it without any change. So PSI is judged by what as many days drawn at random from the
    reference itself give (500 draws of whole days, which keeps the rows of a day together): a feature has drifted
    where PSI is above the 99th percentile of that and above .1. Raises `TooFewDaysError` with fewer than 7 reference
    days or without current rows.
    """
    days, day_codes = np.unique(reference_days.astype("datetime64[D]"), return_inverse=True)
    n_days = len(np.unique(current_days.astype("datetime64[D]")))
    if len(days) < MIN_REFERENCE_DAYS or n_days == 0:
        raise TooFewDaysError(
            f"drift needs {MIN_REFERENCE_DAYS} days of training and one after it: there are {len(days)} and {n_days}"
        )
    draws = np.random.default_rng(seed).multinomial(n_days, np.full(len(days), 1 / len(days)), size=N_SIMULATIONS)
    found = []
    for feature in contract.features:
        codes, now, n_bins = _bin(reference[feature.name], current[feature.name], feature.kind == "categorical")
        by_day = np.bincount(day_codes * n_bins + codes, minlength=len(days) * n_bins).reshape(len(days), n_bins)
        shares = by_day.sum(axis=0)
        psi = float(_psi(shares, np.bincount(now, minlength=n_bins)[None])[0])
        null = float(np.quantile(_psi(shares, draws @ by_day), NULL_QUANTILE))
        limit = max(null, MIN_PSI)
        found.append(FeatureDrift(feature.name, round(psi, 6), round(null, 6), round(limit, 6), psi > limit))
    return sorted(found, key=lambda drift: -drift.psi)


def measure_rate_drift(
    reference_labels: npt.NDArray[np.bool_],
    reference_days: npt.NDArray[np.datetime64],
    current_labels: npt.NDArray[np.bool_],
) -> RateDrift:
    """Compare two base rates: labels of the reference (n,) with their days (n,), and of the current days (m,).

    Two-proportion z-test whose variance is multiplied by the dispersion of the reference's days (Pearson's chi-squared
    over its degrees of freedom, at least 1; McCullagh and Nelder 1989). Drifted: |z| above 2.58 (1 %) and a change of
    more than 20 % of the rate.
    """
    _, codes = np.unique(reference_days.astype("datetime64[D]"), return_inverse=True)
    totals = np.bincount(codes).astype(np.float64)
    positives = np.bincount(codes, weights=reference_labels)
    before, now = float(reference_labels.mean()), float(current_labels.mean())
    variance = max(before * (1 - before), 1e-12)
    dispersion = ((positives - totals * before) ** 2 / (totals * variance)).sum() / max(len(totals) - 1, 1)
    error = math.sqrt(max(1.0, dispersion) * variance * (1 / len(reference_labels) + 1 / len(current_labels)))
    z = (now - before) / error
    changed = abs(now - before) > MIN_RATE_CHANGE * max(before, 1e-12)
    return RateDrift(round(before, 6), round(now, 6), round(z, 3), bool(abs(z) > Z_99 and changed))


def measure_calibration_drift(scores: Floats, labels: npt.NDArray[np.bool_]) -> CalibrationDrift | None:
    """Calibration of `scores` (n,) on days after the training against `labels` (n,); None with under 50 purchases.

    The ratio of observed to expected purchases has a Poisson interval on the log scale; the slope is that of a logistic
    regression on the score's log odds (Cox 1958) with its Wald interval. Drifted: the ratio's interval excludes 1 and
    it is off by more than 20 %, or the slope's interval lies outside .8-1.2.
    """
    observed = int(labels.sum())
    if observed < MIN_POSITIVES or observed == len(labels):
        return None
    expected = float(scores.sum())
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    odds = np.log(clipped / (1 - clipped))
    ratio, half = observed / expected, 1.96 / math.sqrt(observed)
    low, high = ratio * math.exp(-half), ratio * math.exp(half)
    fitted = LogisticRegression(C=np.inf).fit(odds[:, None], labels)
    slope = float(fitted.coef_[0, 0])
    weights = fitted.predict_proba(odds[:, None])[:, 1]
    weights = weights * (1 - weights)
    centred = odds - np.average(odds, weights=weights)
    error = 1 / math.sqrt(max(float((weights * centred**2).sum()), 1e-12))
    slope_low, slope_high = slope - 1.96 * error, slope + 1.96 * error
    is_off = (low > 1 or high < 1) and abs(ratio - 1) > MIN_RATE_CHANGE
    is_bent = slope_high < SLOPE_RANGE[0] or slope_low > SLOPE_RANGE[1]
    return CalibrationDrift(
        n=len(labels),
        observed=observed,
        expected=round(expected, 3),
        ratio=round(ratio, 4),
        ratio_low=round(low, 4),
        ratio_high=round(high, 4),
        slope=round(slope, 4),
        slope_low=round(slope_low, 4),
        slope_high=round(slope_high, 4),
        has_drifted=bool(is_off or is_bent),
    )


def _bin(
    reference: pd.Series, current: pd.Series, is_categorical: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Bin numbers of both columns and how many bins there are; the last is for missing values."""
    if is_categorical:
        shares = reference.astype(object).value_counts(normalize=True)
        levels = {level: number for number, level in enumerate(shares.index[shares >= RARE_LEVEL_SHARE])}
        n_bins = len(levels) + 2

        def encode(column: pd.Series) -> npt.NDArray[np.int64]:
            text = column.astype(object)
            codes = text.map(levels).fillna(len(levels)).to_numpy(dtype=np.int64, copy=True)
            codes[text.isna().to_numpy()] = n_bins - 1
            return codes

    else:
        known = reference.dropna().to_numpy(dtype=np.float64)
        edges = np.unique(np.quantile(known, np.arange(1, N_BINS) / N_BINS)) if len(known) else np.empty(0)
        n_bins = len(edges) + 2

        def encode(column: pd.Series) -> npt.NDArray[np.int64]:
            values = column.to_numpy(dtype=np.float64)
            # a value on an edge lies below it: zeros of a column that is mostly zero have a bin of their own
            return np.where(np.isnan(values), n_bins - 1, np.searchsorted(edges, values, side="left")).astype(np.int64)

    return encode(reference), encode(current), n_bins


def _psi(reference: npt.NDArray[np.int64], current: npt.NDArray[np.int64]) -> Floats:
    """PSI of count rows (s, bins) against reference counts (bins,); half a row in each bin keeps it finite."""
    before = (reference + 0.5) / (reference.sum() + 0.5 * len(reference))
    now = (current + 0.5) / (current.sum(axis=1, keepdims=True) + 0.5 * current.shape[1])
    values: Floats = ((now - before) * np.log(now / before)).sum(axis=1)
    return values
