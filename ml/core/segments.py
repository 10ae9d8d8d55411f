"""A segment, and the set of segments that the next training keeps ids and names from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
class SegmentSet:
    """The segments of one training and the space they lie in: what the next one keeps ids and names from."""

    segments: tuple[Segment, ...]
    mean: dict[str, float]  # of log(1 + x), per clustered column
    scale: dict[str, float]
    next_id: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "segments": [segment.to_dict() for segment in self.segments],
            "segment_space": {"mean": self.mean, "scale": self.scale, "next_id": self.next_id},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SegmentSet:
        """Read what `to_dict` wrote."""
        space = values["segment_space"]
        segments = tuple(Segment(**segment) for segment in values["segments"])
        return cls(segments, dict(space["mean"]), dict(space["scale"]), int(space["next_id"]))
