"""Calibration: a line on the log-odds learned from rolling predictions, and a trailing correction of the base rate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.core.metrics import Flags, Floats, fit_logistic_line, from_logit, solve_shift, to_logit

MIN_POSITIVES = 50  # of each class, to learn a line or a shift; with fewer, noise would move the scores
MAX_SHIFT = 2.0  # log-odds; a base rate does not move further within a window


@dataclass(frozen=True)
class Calibration:
    """log-odds → intercept + slope × log-odds (Platt 1999); the default changes nothing."""

    intercept: float = 0.0
    slope: float = 1.0

    def apply(self, scores: Floats, shifts: Floats | float = 0.0) -> Floats:
        """Calibrated probabilities (n,), moved by `shifts` in log-odds."""
        return from_logit(self.intercept + self.slope * to_logit(scores) + shifts)

    def to_dict(self) -> dict[str, float]:
        """JSON-able form, every digit: scores must not depend on where a model was read from."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Calibration:
        """Read what `to_dict` wrote."""
        return cls(float(values["intercept"]), float(values["slope"]))


def fit_calibration(scores: Floats, labels: Flags, folds: npt.NDArray[np.int64]) -> Calibration:
    """The line that fits `labels` (n,) best, sharper only as far as each of `folds` (n,) alone confirms it.

    Below 1, the slope is that of all rows: scores that are too extreme are softened. Above 1 it is the smallest of the
    folds' own slopes, and 1 where one of them is lower or has under 50 rows of a class. Penalised and slowly learning
    models are too timid period after period, and that is made up for; one regular period is no reason to bet that the
    next has no broken checkout and no sale, which would turn sharpened scores into ones near 0 and 1 that are wrong.
    The intercept moves the scores to the observed rate. No change where a class has under 50 rows in all.
    """
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < MIN_POSITIVES:
        return Calibration()
    logits, outcomes, ones = to_logit(scores), labels.astype(np.float64)[:, None], np.ones((len(labels), 1))
    intercept, slope = fit_logistic_line(logits, outcomes, ones)
    if np.isfinite(slope[0]) and 0 < slope[0] < 1:
        return Calibration(float(intercept[0]), float(slope[0]))
    confirmed = max(1.0, min(_fit_slope(logits[folds == fold], labels[folds == fold]) for fold in np.unique(folds)))
    return Calibration(float(solve_shift(confirmed * logits, outcomes, ones)[0]), confirmed)


def _fit_slope(logits: Floats, labels: Flags) -> float:
    """The slope of one fold; 1 where too few rows of a class or a separation leave it open."""
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < MIN_POSITIVES:
        return 1.0
    _, slope = fit_logistic_line(logits, labels.astype(np.float64)[:, None], np.ones((len(labels), 1)))
    return float(slope[0]) if np.isfinite(slope[0]) else 1.0


@dataclass(frozen=True)
class TrailingWindow:
    """Which earlier blocks of rows correct a block: `length` of them, of which the last lies `lag` blocks before it.

    Blocks are numbered in time order. For daily scores a block is a day, and the lag is the time until its purchases
    are final.
    """

    length: int
    lag: int = 1

    def list_blocks(self, block: int) -> range:
        """The blocks that correct `block`; all lie before it."""
        return range(block - self.lag - self.length + 1, block - self.lag + 1)


def solve_trailing_shifts(
    scores: Floats, labels: Flags, blocks: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64], window: TrailingWindow
) -> Floats:
    """The shift in log-odds (len(wanted),) of each wanted block, from rows (n,) of the blocks before it.

    It is the log of the odds ratio between the window's observed rate and the mean of its calibrated `scores` (prior
    correction, King & Zeng 2001, with the predicted rate in the place of the training sample's: what the features
    already explain is not corrected twice). Zero where the window has fewer than 50 rows of a class. No row of a block,
    or of one after it, enters its own shift.
    """
    order = np.argsort(blocks, kind="stable")
    ordered = blocks[order]
    predicted, positives = np.r_[0.0, np.cumsum(scores[order])], np.r_[0, np.cumsum(labels[order])]
    spans = [window.list_blocks(block) for block in wanted.tolist()]
    first = np.searchsorted(ordered, [span.start for span in spans])
    last = np.searchsorted(ordered, [span.stop for span in spans])
    n, inside = last - first, positives[last] - positives[first]
    enough = np.minimum(inside, n - inside) >= MIN_POSITIVES
    rows = np.maximum(n, 1)
    shifts = to_logit(inside / rows) - to_logit((predicted[last] - predicted[first]) / rows)
    return np.where(enough, np.clip(shifts, -MAX_SHIFT, MAX_SHIFT), 0.0)


def correct_base_rate(scores: Floats, labels: Flags, blocks: npt.NDArray[np.int64], window: TrailingWindow) -> Floats:
    """Calibrated scores (n,), moved by its block's trailing shift: as if scored block by block."""
    distinct, codes = np.unique(blocks, return_inverse=True)
    shifts = solve_trailing_shifts(scores, labels, blocks, distinct, window)
    return from_logit(to_logit(scores) + shifts[codes])
