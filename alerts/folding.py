"""Decides which incidents have one cause and are told as one."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

# From how many incidents with one cause on they are one digest; two are two messages.
DIGEST_SIZE = 3

_SEVERITY_ORDER = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Candidate:
    """A live incident. `cause` is `dimension=value` of its top driver, None when nothing stands out."""

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


def choose_leaders(candidates: list[Candidate]) -> dict[str, str]:
    """For each incident that another one speaks for: that other one's id. An incident once folded stays so.

    Two incidents have one cause when their days overlap, give or take a day, and (a) one is about a dimension's value
    and the other about the whole of the same rule and direction: the whole speaks for the value; or (b) the same
    value of the same dimension drives both most: from three such on, one speaks for all.
    """
    by_id = {candidate.incident_id: candidate for candidate in candidates}
    leaders = {c.incident_id: c.folded_into for c in candidates if c.folded_into is not None and c.folded_into in by_id}
    for child in candidates:
        if child.incident_id in leaders or child.dimension is None:
            continue
        wholes = [
            whole
            for whole in candidates
            if whole.dimension is None
            and (whole.rule, whole.direction) == (child.rule, child.direction)
            and _overlap(whole, child)
        ]
        if wholes:
            leaders[child.incident_id] = min(wholes, key=lambda whole: whole.first).incident_id

    free = [c for c in candidates if c.incident_id not in leaders and c.cause is not None]
    for cluster in _cluster(free):
        # One that already speaks for others goes on doing so, and takes in the next from the first on.
        speaking = [c for c in cluster if c.incident_id in leaders.values() and _speaks_for_a_cause(c, leaders, by_id)]
        if len(cluster) < DIGEST_SIZE and not speaking:
            continue
        leader = min(speaking or cluster, key=_rank)
        for member in cluster:
            if member is not leader:
                leaders[member.incident_id] = leader.incident_id
    # What a folded one spoke for goes along with it.
    return {member: leaders.get(leader, leader) for member, leader in leaders.items()}


def _speaks_for_a_cause(candidate: Candidate, leaders: dict[str, str], by_id: dict[str, Candidate]) -> bool:
    members = [by_id[member] for member, leader in leaders.items() if leader == candidate.incident_id]
    return any(member.rule != candidate.rule for member in members)


def _cluster(candidates: list[Candidate]) -> list[list[Candidate]]:
    """Groups of one cause whose days hang together."""
    clusters: list[list[Candidate]] = []
    for candidate in sorted(candidates, key=lambda c: (c.first, c.incident_id)):
        joined = [
            cluster
            for cluster in clusters
            if any(other.cause == candidate.cause and _overlap(other, candidate) for other in cluster)
        ]
        for cluster in joined:
            clusters.remove(cluster)
        clusters.append([*(member for cluster in joined for member in cluster), candidate])
    return clusters


def _rank(candidate: Candidate) -> tuple[int, bool, dt.date, float, str]:
    return (
        _SEVERITY_ORDER.get(candidate.severity, 3),
        not candidate.is_announced,
        candidate.first,
        -candidate.strength,
        candidate.incident_id,
    )


def _overlap(one: Candidate, other: Candidate) -> bool:
    day = dt.timedelta(days=1)
    return one.first - day <= other.last and other.first - day <= one.last
