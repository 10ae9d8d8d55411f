"""What a training tells about one model, and what every record says about its making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ml.core.contract import FeatureContract
from ml.core.record import DataRecord
from ml.io.code_version import read_code_version, read_library_versions

FULL = "propensity_full"
PRECHECKOUT = "propensity_precheckout"
SEGMENTS = "segments"
MODEL_NAMES = (FULL, PRECHECKOUT, SEGMENTS)
SEED = 20_260_101


@dataclass(frozen=True)
class ModelReport:
    """What became of one model. Metrics are of the held-out days, each `{value, low, high}` with a 95 % interval."""

    name: str
    status: Literal["trained", "not_trained"]
    why: str  # why it was not trained, or why it is or is not the champion
    version: str | None = None
    promoted: bool = False
    estimator: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    metrics_by_point: dict[str, Any] = field(default_factory=dict)
    segments: list[dict[str, Any]] = field(default_factory=list)
    gates: list[dict[str, Any]] = field(default_factory=list)
    baselines: dict[str, Any] = field(default_factory=dict)
    best_flag: str | None = None
    gains: dict[str, Any] = field(default_factory=dict)  # over each baseline
    oracle: dict[str, Any] = field(default_factory=dict)
    card: str | None = None
    seconds: float = 0.0


def describe_making(contract: FeatureContract, data: DataRecord) -> dict[str, Any]:
    """The part of a `ModelRecord` that says from which data, features, code and libraries a model was made."""
    return {
        "data": data,
        "contract": contract,
        "code_version": read_code_version(),
        "libraries": read_library_versions(),
    }
