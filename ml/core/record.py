"""What is known of a model once it is trained: its manifest keeps it, its card shows it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ml.core.calibration import Calibration, TrailingWindow
from ml.core.contract import FeatureContract
from ml.core.segments import SegmentSet
from ml.core.split import NamedSplit

Metrics = dict[str, Any]  # by name, mostly `{value, low, high}` with a 95 % interval; rows as plain numbers


@dataclass(frozen=True)
class DataRecord:
    """The rows that a model was made from; None is what its kind of model does not tell."""

    relation: str
    rows: int
    first_date: str | None
    last_date: str | None
    label: str | None = None
    rows_in_all: int | None = None  # before a sample of users was drawn
    positives: int | None = None
    users: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class EstimatorRecord:
    """Which estimator it is, and why."""

    family: str
    params: dict[str, Any]
    seed: int
    chosen_by: str


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """What is known of any model: data, features, code, libraries, estimator."""

    data: DataRecord
    contract: FeatureContract
    code_version: str
    libraries: dict[str, str]
    estimator: EstimatorRecord

    @property
    def fitted_until(self) -> dt.date | None:
        """The last day it was fitted on, where days were held out."""
        return None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "data": self.data.to_dict(),
            "contract": self.contract.to_dict(),
            "code_version": self.code_version,
            "libraries": self.libraries,
            "estimator": asdict(self.estimator),
        }


@dataclass(frozen=True)
class Candidacy:
    """What decided whether a model became champion: the gates, and the version that it had to beat."""

    gates: list[dict[str, Any]]
    compared_with: str | None


@dataclass(frozen=True, kw_only=True)
class PropensityRecord(ModelRecord):
    """What is known of a propensity model; metrics are of the held-out periods."""

    split: NamedSplit
    search: list[dict[str, Any]]
    metrics: Metrics
    metrics_uncorrected: Metrics
    metrics_by_group: dict[str, dict[str, Metrics]]
    metrics_note: str
    baselines: dict[str, Metrics]
    gains: dict[str, Metrics]  # over each baseline
    best_flag: str | None
    oracle: dict[str, Metrics]  # by decision point
    calibrations: dict[str, Calibration]  # by decision point
    window: TrailingWindow
    leaks: list[dict[str, Any]]
    candidacy: Candidacy | None = None  # None: made to compare with, never a champion

    @property
    def fitted_until(self) -> dt.date:
        """The day before the held-out ones."""
        return dt.date.fromisoformat(self.split.test_from) - dt.timedelta(days=1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            **super().to_dict(),
            "split": self.split.to_dict(),
            "search": self.search,
            "metrics": self.metrics,
            "metrics_uncorrected": self.metrics_uncorrected,
            "metrics_by_group": self.metrics_by_group,
            "metrics_note": self.metrics_note,
            "baselines": self.baselines,
            "gains": self.gains,
            "best_flag": self.best_flag,
            "oracle": self.oracle,
            "calibration": {
                "points": {point: calibration.to_dict() for point, calibration in self.calibrations.items()},
                "window": asdict(self.window),
            },
            "leaks": self.leaks,
            **({} if self.candidacy is None else asdict(self.candidacy)),
        }


@dataclass(frozen=True, kw_only=True)
class SegmentationRecord(ModelRecord):
    """What is known of a model that finds segments."""

    found: SegmentSet
    choice_of_k: list[dict[str, Any]]
    ward_ari: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            **super().to_dict(),
            **self.found.to_dict(),
            "choice_of_k": self.choice_of_k,
            "ward_ari": self.ward_ari,
        }


def read_record(values: Mapping[str, Any]) -> ModelRecord:
    """Read what the `to_dict` of a record wrote, among other keys.

    Raises KeyError or TypeError where something is missing, ContractError where the contract does not fit its hash.
    """
    common: dict[str, Any] = {
        "data": DataRecord(**values["data"]),
        "contract": FeatureContract.from_dict(values["contract"]),
        "code_version": values["code_version"],
        "libraries": values["libraries"],
        "estimator": EstimatorRecord(**values["estimator"]),
    }
    if "calibration" in values:
        return _read_propensity(values, common)
    if "segment_space" in values:
        found = SegmentSet.from_dict(values)
        return SegmentationRecord(**common, found=found, choice_of_k=values["choice_of_k"], ward_ari=values["ward_ari"])
    return ModelRecord(**common)


def _read_propensity(values: Mapping[str, Any], common: dict[str, Any]) -> PropensityRecord:
    calibration = values["calibration"]
    return PropensityRecord(
        **common,
        split=NamedSplit.from_dict(values["split"]),
        search=values["search"],
        metrics=values["metrics"],
        metrics_uncorrected=values["metrics_uncorrected"],
        metrics_by_group=values["metrics_by_group"],
        metrics_note=values["metrics_note"],
        baselines=values["baselines"],
        gains=values["gains"],
        best_flag=values["best_flag"],
        oracle=values["oracle"],
        calibrations={point: Calibration.from_dict(line) for point, line in calibration["points"].items()},
        window=TrailingWindow(**calibration["window"]),
        leaks=values["leaks"],
        candidacy=Candidacy(values["gates"], values["compared_with"]) if "gates" in values else None,
    )
