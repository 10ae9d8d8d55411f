"""Decides which incidents have one cause and are told as one."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

# Without events there are none of these.
_NEED_EVENTS = ("sessions", "revenue_usd")
_SEVERITY_ORDER = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Candidate:
    """A live incident. `cause` is `dimension=value` of its top driver, None when none stands out from the rest."""

    incident_id: str
    rule: str
    dimension: str | None
    direction: str
    first: dt.date
    last: dt.date
    severity: str
    strength: float  # |z|, 0 where there is none
    cause: str | None
    is_announced: bool  # has a message of its own
    folded_into: str | None
    measures: str | None = None  # what its rule watches by the hour


def choose_leaders(candidates: list[Candidate]) -> dict[str, str]:
    """For each incident that another one speaks for: that other one's id. An incident once folded stays so.

    Two incidents have one cause when their days overlap, give or take a day, and (a) one is about a dimension's value
    and the other about the whole of the same rule and direction, or (b) the same value of the same dimension drives
    both most, or (c) fewer events came, and fewer sessions or less revenue. Of all that hang together in this way, one
    speaks: whoever does so already, else has been announced, else the events, the most severe, the whole before its
    parts, the earliest.
    """
    groups = {candidate.incident_id: {candidate.incident_id} for candidate in candidates}
    for one, other in combinations(candidates, 2):
        if groups[one.incident_id] is not groups[other.incident_id] and _belong_together(one, other):
            joined = groups[one.incident_id] | groups[other.incident_id]
            for incident_id in joined:
                groups[incident_id] = joined
    by_id = {candidate.incident_id: candidate for candidate in candidates}
    speakers = {candidate.folded_into for candidate in candidates}
    leaders: dict[str, str] = {}
    members: dict[int, list[Candidate]] = defaultdict(list)
    for incident_id, group in groups.items():
        members[id(group)].append(by_id[incident_id])
    for group_members in members.values():
        leader = min(group_members, key=lambda each: (each.incident_id not in speakers, *_rank(each)))
        leaders |= {each.incident_id: leader.incident_id for each in group_members if each is not leader}
    return leaders


def _belong_together(one: Candidate, other: Candidate) -> bool:
    if one.folded_into == other.incident_id or other.folded_into == one.incident_id:
        return True
    if not _overlap(one, other):
        return False
    if {"events"} < {one.measures, other.measures} & {"events", *_NEED_EVENTS} and one.direction == other.direction:
        return True
    is_part = (one.rule, one.direction) == (other.rule, other.direction) and None in (one.dimension, other.dimension)
    return is_part or (one.cause is not None and one.cause == other.cause)


def _rank(candidate: Candidate) -> tuple[bool, bool, int, bool, dt.date, float, str]:
    return (
        not candidate.is_announced,
        candidate.measures != "events",
        _SEVERITY_ORDER.get(candidate.severity, 3),
        candidate.dimension is not None,
        candidate.first,
        -candidate.strength,
        candidate.incident_id,
    )


def _overlap(one: Candidate, other: Candidate) -> bool:
    day = dt.timedelta(days=1)
    return one.first - day <= other.last and other.first - day <= one.last
