"""How incidents live: verdicts open, extend, reopen and end them."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import sqlite3
from collections.abc import Iterable, Mapping

from alerts.detection.verdicts import Check
from alerts.incidents import store
from alerts.incidents.store import Incident, StoredCheck
from alerts.rules.book import Rule

# A problem that comes back this soon continues its old incident, or a value that flaps would make one after another.
REOPEN_DAYS = 7
# A live incident whose days are no longer tested (a value that vanished, too little volume) ends after this long.
STALE_DAYS = 28


def record_checks(
    state: sqlite3.Connection, checks: Iterable[Check], rules: Mapping[str, Rule], *, run_id: str, now: str
) -> list[dt.date]:
    """Store the verdicts that are new or changed and let incidents open, grow, shrink and reopen.

    Returns the dates with a new or changed verdict, oldest first. A day that no longer breaches (its data or the
    rule changed) leaves its incident.
    """
    changed: set[dt.date] = set()
    touched: set[str] = set()
    expected = store.read_expected_days(state)
    # Day by day, so that a breach finds the incident of the day before.
    for check in sorted(checks, key=lambda check: check.date):
        before = store.read_check(state, check.fingerprint, check.date)
        if before is not None and before.says(check):
            continue
        changed.add(check.date)
        is_expected = check.is_expected_event or check.date in expected.get(check.fingerprint, set())
        incident_id = None
        if not is_expected:
            incident_id = _find_or_open(state, check, before, rules[check.rule], run_id=run_id, now=now)
        store.write_check(state, check, incident_id, run_id=run_id, now=now)
        touched |= {found for found in (before.incident_id if before else None, incident_id) if found}
    for incident_id in sorted(touched):
        if breaches := store.list_breaches(state, incident_id):
            store.set_days(state, incident_id, breaches, now=now)
        else:
            store.withdraw(state, incident_id, now=now)
    return sorted(changed)


def resolve_incidents(state: sqlite3.Connection, rule_names: Iterable[str], *, now: str) -> None:
    """Close what is over: a normal day followed, no rule watches it any more, or its days are not tested any more.

    An incident that speaks for others stays until those are over too.
    """
    known = set(rule_names)
    live = [each for each in store.read_incidents(state) if each.is_live and not each.is_of_run]
    # Folded ones first, so that the one that speaks for them can follow in the same run.
    for incident in sorted(live, key=lambda each: each.folded_into is None):
        if store.has_live_members(state, incident.incident_id):
            continue
        normal = store.find_first_normal(state, incident.fingerprint, incident.last_seen_date)
        newest = store.find_newest_checked(state, incident.rule)
        reason = None
        if normal is None:
            normal = store.find_end_by_hours(state, incident.fingerprint, incident.last_seen_date)
        if normal is None and incident.rule not in known:
            reason = "no rule watches this any more"
        elif normal is None and newest is not None and _is_stale(incident, newest):
            reason = f"not tested again for {STALE_DAYS} days"
        if normal is not None or reason is not None:
            store.close_incident(state, incident.incident_id, resolved_date=normal, reason=reason, now=now)


def _is_stale(incident: Incident, newest_checked: dt.date) -> bool:
    # a day that is missing is missing until it comes
    return incident.kind != "data_missing" and (newest_checked - incident.last_seen_date).days > STALE_DAYS


def list_covered_days(state: sqlite3.Connection, incident_id: str) -> list[dt.date]:
    """The days that the breaching periods of an incident cover, oldest first: where weeks are tested, all of theirs."""
    breaches = store.list_breaches(state, incident_id)
    return sorted({check.date - dt.timedelta(days=age) for check in breaches for age in range(check.period_days)})


def make_incident_id(check: Check) -> str:
    """First day, rule, value and direction, fit for a folder's name: 20260810-cart_abandonment_rate-mobile-above."""
    parts = [f"{check.date:%Y%m%d}", check.rule]
    if check.dimension is not None:
        parts.append(_slug(f"{check.dimension}={check.dimension_value}", str(check.dimension_value)))
    return "-".join([*parts, check.direction])


def _slug(identity: str, value: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")[:30]
    # Two values of one slug (or the same value of two dimensions) must not share an incident.
    return f"{plain or 'value'}_{hashlib.sha256(identity.encode('utf-8', 'replace')).hexdigest()[:6]}"


def _find_or_open(
    state: sqlite3.Connection, check: Check, before: StoredCheck | None, rule: Rule, *, run_id: str, now: str
) -> str | None:
    """The incident a day belongs to; opens one for a breach without a neighbour."""
    if check.verdict == "near":
        return store.find_beside(state, check, "before")
    if check.verdict != "breach":
        return None
    return (
        (before.incident_id if before is not None else None)
        or store.find_beside(state, check, "before")
        or store.find_beside(state, check, "after")
        or store.find_near(state, check.fingerprint, check.date, REOPEN_DAYS)
        or _open(state, check, rule, run_id=run_id, now=now)
    )


def _open(state: sqlite3.Connection, check: Check, rule: Rule, *, run_id: str, now: str) -> str:
    incident_id, date = make_incident_id(check), check.date.isoformat()
    values = {
        "incident_id": incident_id,
        "fingerprint": check.fingerprint,
        "kind": rule.kind,
        "rule": rule.name,
        "dimension": check.dimension,
        "dimension_value": check.dimension_value,
        "direction": check.direction,
        "severity": check.severity,
        "owner": rule.owner,
        "title": rule.title,
        "unit": rule.unit,
        "first_seen_date": date,
        "last_seen_date": date,
        "incident_days": 0,
    }
    store.insert_incident(state, values, run_id=run_id, now=now)
    return incident_id
