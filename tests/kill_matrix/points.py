"""Where to kill a task: before what it does for good, in the middle of it, or after it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["before", "during", "after"]

# Per task, the events with which it does for good what it is there for (kind, and what its detail matches).
_COMMITS = {
    "load_changed_days": ("rename", r" -> .*/lake/events/event_date="),
    "validate_landing": ("sqlite", r"^commit$"),
    "build_marts": ("duckdb", r'"node_id"|^COMMIT$'),
    "validate_marts": ("sqlite", r"^commit$"),
    "score_sessions": ("duckdb", r"^(delete from ml|insert into ml|commit$)"),
    "build_scores": ("duckdb", r'"node_id"|^COMMIT$'),
    "validate_scores": ("sqlite", r"^commit$"),
    "publish": ("rename", r" -> .*/warehouse\.duckdb$"),
    "check_alerts": ("http|sqlite", r"^commit$|chat\.postMessage"),
    "train_models": ("rename", r"/models/"),
}
# How many points of each phase the long form has; a retry gets one of each phase.
COUNTS = {
    "load_changed_days": (2, 3, 2),
    "validate_landing": (2, 2, 2),
    "build_marts": (2, 4, 2),
    "validate_marts": (1, 2, 2),
    "score_sessions": (2, 3, 2),
    "build_scores": (1, 3, 2),
    "validate_scores": (1, 2, 2),
    "publish": (3, 2, 2),
    "check_alerts": (2, 7, 2),
    "train_models": (1, 2, 2),
}
RETRY_COUNTS = (1, 1, 1)


@dataclass(frozen=True)
class Point:
    """One place to kill a task; `event` None: after its last event, before anybody is told that it has ended."""

    task: str
    phase: Phase
    event: int | None
    moment: Literal["before", "during", "after"] = "before"  # of the event
    seconds: float = 0.0  # into the event
    detail: str = ""

    def to_order(self) -> dict[str, Any]:
        """As the worker takes it."""
        return {"task": self.task, "event": self.event, "phase": self.moment, "seconds": self.seconds}


def find_commits(task: str, events: list[dict[str, Any]]) -> list[int]:
    """The events of a task's trace that are for good."""
    kind, pattern = _COMMITS[task]
    found = [
        index
        for index, event in enumerate(events)
        if re.fullmatch(kind, event["kind"]) and re.search(pattern, event["detail"])
    ]
    if task == "score_sessions":  # a second transaction only notes which champions were used
        return found[: 1 + next(place for place, index in enumerate(found) if events[index]["detail"] == "commit")]
    return found


def choose_points(
    task: str, events: list[dict[str, Any]], draw: random.Random, counts: tuple[int, int, int]
) -> list[Point]:
    """So many points of each phase, spread over the events; right before and right after what is for good are in it."""
    before, during, after = counts
    commits = find_commits(task, events)
    assert commits, f"{task} did nothing for good: {sorted({event['kind'] for event in events})}"
    first, last = commits[0], commits[-1]
    points = [
        Point(task, "before", index, detail=_describe(events[index]))
        for index in _spread(range(first + 1), before)[::-1]
    ]
    for index in sorted({commits[(2 * part + 1) * len(commits) // (2 * during)] for part in range(during)}):
        seconds = draw.uniform(0, events[index]["seconds"])
        points.append(Point(task, "during", index, "during", seconds, _describe(events[index])))
    later = _spread(range(last + 1, len(events)), after - 2)
    points.append(Point(task, "after", last, "after", detail=_describe(events[last])))
    points.extend(Point(task, "after", index, detail=_describe(events[index])) for index in later)
    if after > 1:
        points.append(Point(task, "after", None, detail="the end"))
    return points


def _spread(items: Any, count: int) -> list[int]:
    """So many of the items, evenly spread, the last one first among them; fewer where there are fewer."""
    if count <= 0 or not len(items):
        return []
    step = len(items) / count
    chosen = {round(len(items) - 1 - step * number) for number in range(count)}
    return [items[index] for index in sorted(chosen) if index >= 0]


def _describe(event: dict[str, Any]) -> str:
    return f"{event['kind']} {' '.join(event['detail'].split())[-70:]}"
