"""Names for segments: by ordered rules when they are new, and kept while they are the same ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from ml.core.metrics import Floats
from ml.core.segments import Segment, SegmentSet

MIN_MOBILE_EXCESS = 0.01


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


def keep_names(drafts: list[Segment], previous: SegmentSet | None, columns: list[str]) -> tuple[list[Segment], int]:
    """Give ids and names of the previous segments to those that are still the same ones."""
    if previous is None or set(previous.mean) != set(columns):
        first = 1 if previous is None else previous.next_id
        kept = [replace(segment, segment_id=first + row) for row, segment in enumerate(drafts)]
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
            kept.append(replace(draft, segment_id=same.segment_id, name=same.name, is_kept=True))
        else:
            name = draft.name if draft.name not in taken else _new_name(draft, taken)
            taken.add(name)
            kept.append(replace(draft, segment_id=next_id, name=name))
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
