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


def fit_calibration(scores: Floats, labels: Flags) -> Calibration:
    """The line that fits `labels` (n,) best; no change where a class has under 50 rows or the line would not rise."""
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) < MIN_POSITIVES:
        return Calibration()
    intercept, slope = fit_logistic_line(
        to_logit(scores), labels.astype(np.float64)[:, None], np.ones((len(labels), 1))
    )
    if not np.isfinite(slope[0]) or slope[0] <= 0:
        return Calibration()
    return Calibration(float(intercept[0]), float(slope[0]))


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

    With it the window's calibrated `scores` have the window's observed rate as their mean (`solve_shift`). Zero where
    the window has fewer than 50 rows of a class. No row of a block, or of one after it, enters its own shift.
    """
    order = np.argsort(blocks, kind="stable")
    blocks, logits, outcomes = blocks[order], to_logit(scores)[order], labels[order].astype(np.float64)
    shifts = np.zeros(len(wanted))
    for position, block in enumerate(wanted.tolist()):
        span = window.list_blocks(block)
        first, last = np.searchsorted(blocks, [span.start, span.stop])
        inside = outcomes[first:last]
        if min(inside.sum(), len(inside) - inside.sum()) >= MIN_POSITIVES:
            shift = solve_shift(logits[first:last], inside[:, None], np.ones((len(inside), 1)))[0]
            shifts[position] = np.clip(shift, -MAX_SHIFT, MAX_SHIFT)
    return shifts


def correct_base_rate(scores: Floats, labels: Flags, blocks: npt.NDArray[np.int64], window: TrailingWindow) -> Floats:
    """Calibrated scores (n,), moved by its block's trailing shift: as if scored block by block."""
    distinct, codes = np.unique(blocks, return_inverse=True)
    shifts = solve_trailing_shifts(scores, labels, blocks, distinct, window)
    return from_logit(to_logit(scores) + shifts[codes])
