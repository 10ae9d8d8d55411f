"""The gates between a trained version and its becoming champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml.core.evaluation import CHAMPION, Judgement
from ml.core.leaks import LeakFinding
from ml.core.metrics import Estimate

MIN_HELD_OUT_POSITIVES = 200
MAX_LOST_PRECISION = 0.005
SLOPE_RANGE = (0.8, 1.2)
MAX_LOST_DEVICE_AUC = 0.02
MAX_BRIER_GROWTH = 0.005  # of the champion's; less is no difference to anybody, and two equal models differ by chance


@dataclass(frozen=True)
class Gate:
    """One condition, whether it is met, and what was seen."""

    name: str
    passed: bool
    seen: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def check_gates(
    judgement: Judgement,
    *,
    positives: int,
    leaks: Sequence[LeakFinding],
    by_device: dict[str, tuple[int, Estimate]],
) -> list[Gate]:
    """All gates that apply: those against the champion only where it was judged on the same rows.

    `positives` are the held-out sessions with a purchase; `by_device` the ROC-AUC of challenger minus champion.
    """
    auc, slope = judgement.evaluation.metrics["roc_auc"], judgement.evaluation.metrics["calibration_slope"].value
    low, high = SLOPE_RANGE
    gates = [
        Gate(
            "better than the base rate",
            auc.low is not None and auc.low > 0.5,
            f"AUC {_show(auc)}; its interval must lie above .5",
        ),
        Gate(
            "enough purchases",
            positives >= MIN_HELD_OUT_POSITIVES,
            f"{positives} held-out sessions with a purchase; {MIN_HELD_OUT_POSITIVES} are needed",
        ),
        Gate(
            "calibration slope",
            slope is not None and low <= slope <= high,
            f"{'undefined' if slope is None else f'{slope:.3f}'}; it must be {low}–{high}",
        ),
        Gate("no leak", not leaks, "; ".join(finding.message for finding in leaks) or "no finding"),
    ]
    gain = judgement.gains.get(CHAMPION)
    if gain is None:
        return gates
    precision, brier = gain["average_precision"], gain["brier"]
    of_champion = judgement.baselines[CHAMPION].metrics["brier"].value
    growth = None if brier.value is None or not of_champion else brier.value / of_champion
    gates += [
        Gate(
            "average precision against the champion",
            precision.low is not None and precision.low > -MAX_LOST_PRECISION,
            f"difference {_show(precision, '+')}; its interval must lie above -{MAX_LOST_PRECISION}",
        ),
        Gate(
            "Brier score against the champion",
            growth is not None and growth <= MAX_BRIER_GROWTH and (brier.low is None or brier.low <= 0),
            f"difference {_show(brier, '+', 5)}; its interval must not lie above 0, nor the difference "
            f"above {MAX_BRIER_GROWTH:.1%} of the champion's",
        ),
    ]
    gates += [
        Gate(
            f"AUC on {device} against the champion",
            difference.value is None or difference.value >= -MAX_LOST_DEVICE_AUC,
            f"difference {_show(difference, '+')} over {n} purchases; it must not be below -{MAX_LOST_DEVICE_AUC}",
        )
        for device, (n, difference) in by_device.items()
    ]
    return gates


def _show(estimate: Estimate, sign: str = "", digits: int = 3) -> str:
    if estimate.value is None:
        return "undefined"
    form = f"{sign}.{digits}f"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}} without an interval"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
