"""The weekly report: once a week, on Monday, how the shop did, whether or not anything is wrong."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Sequence

import duckdb
import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from alerts.channels import outbox
from alerts.channels.available import choose_channels
from alerts.detection.panel import DAILY_TABLE, has_columns, list_columns, say_measures
from alerts.detection.scales import scale_of
from alerts.incidents import store
from alerts.messages.facts import WEEK, KpiFacts, Standing, WeekFacts, WeekIncident, WeekKpi, to_json_values
from alerts.rules.book import Rule, RuleBook
from foundation.settings import Settings

FROM_HOUR, TO_HOUR = 8, 20  # of the property's day
LATEST_DAY = 2  # a report that comes on Wednesday or later is none
WEEKS_SHOWN = 9
FEWEST_WEEKS = 4
_WITHIN = 0.95
_WEEK = dt.timedelta(days=7)
_DAY = dt.timedelta(days=1)
_CHANNELS = ("slack", "email")


def find_due_week(state: sqlite3.Connection, settings: Settings, *, moment: dt.datetime) -> dt.date | None:
    """The Monday of the week that is to be reported now; None where none is, or it has been."""
    local = moment.astimezone(settings.zone)
    monday = local.date() - dt.timedelta(days=local.weekday())
    is_time = local.weekday() < LATEST_DAY and FROM_HOUR <= local.hour < TO_HOUR
    if not settings.weekly_report or not is_time or outbox.is_announced(state, name_week(monday - _WEEK)):
        return None
    return monday - _WEEK


def name_week(monday: dt.date) -> str:
    """The report's name in the outbox, as `2026-W47` in it."""
    year, week, _ = monday.isocalendar()
    return f"week-{year}-W{week:02d}"


def queue_week(state: sqlite3.Connection, settings: Settings, facts: WeekFacts) -> None:
    """Put the report into the outbox, for Slack and mail."""
    for channel in choose_channels(settings):
        if channel.name in _CHANNELS:
            target = settings.weekly_report_channel if channel.name == "slack" else None
            payload = to_json_values(facts)
            outbox.queue_parent(state, facts.incident_id, channel, WEEK, payload, target=target, not_before=None)


def gather_week(
    warehouse: duckdb.DuckDBPyConnection, state: sqlite3.Connection, book: RuleBook, monday: dt.date, *, run_id: str
) -> WeekFacts | None:
    """What there is to say of the week from `monday` on; None while its Sunday is not published."""
    sunday = monday + _WEEK - _DAY
    days = dict(
        warehouse.execute(
            f"select kpi_date, is_provisional from {DAILY_TABLE} where kpi_date between ? and ?", [monday, sunday]
        ).fetchall()
    )
    if sunday not in days:
        return None
    rules = [rule for rule in book.rules if rule.kind == "kpi" and has_columns(warehouse, DAILY_TABLE, rule.columns)]
    mondays = [monday - _WEEK * back for back in range(WEEKS_SHOWN - 1, -1, -1)]
    incidents = store.read_incidents(state)
    return WeekFacts(
        incident_id=name_week(monday),
        kind=WEEK,
        title="Weekly report",
        severity="info",
        owner="",
        runbook="",
        run_id=run_id,
        standing=Standing("resolved", monday.isoformat(), sunday.isoformat(), 7),
        mondays=[each.isoformat() for each in mondays],
        kpis=[_measure(warehouse, rule, mondays, _list_troubled(incidents, rule)) for rule in rules],
        incidents=_list_incidents(state, incidents, monday, sunday),
        opportunity=_find_opportunity(warehouse),
        quality=_judge_data(warehouse, monday, days),
        models=_judge_models(warehouse),
    )


def _measure(
    warehouse: duckdb.DuckDBPyConnection, rule: Rule, mondays: Sequence[dt.date], troubled: set[dt.date]
) -> WeekKpi:
    """The KPI of each whole week, and what is usual by those before the last that had no incident of it."""
    scale = scale_of(rule)
    rows = warehouse.execute(
        f"select kpi_date, {say_measures(rule)} from {DAILY_TABLE} where kpi_date between ? and ?",
        [mondays[0], mondays[-1] + _WEEK - _DAY],
    ).fetchall()
    y, n = np.zeros(len(mondays)), np.zeros(len(mondays))
    days = np.zeros(len(mondays), dtype=int)
    for date, value, count, _ in rows:
        week = (date - mondays[0]) // _WEEK
        days[week] += 1
        if value is not None and count:
            y[week] += scale.add_up(value, count)
            n[week] += count
    shown: list[float | None] = []
    for week in range(len(mondays)):
        amount = float(y[week] if scale.is_total else scale.show(y[week] / max(n[week], 1.0)))
        shown.append(amount if days[week] == 7 and n[week] else None)
    usual = [
        value
        for monday, value in zip(mondays[:-1], shown[:-1], strict=True)
        if value is not None and not troubled & {monday + _DAY * day for day in range(7)}
    ]
    low, high = predict_range(usual, is_share=rule.unit == "share")
    return WeekKpi(rule.title, rule.unit, shown, low, high)


def predict_range(values: Sequence[float], *, is_share: bool) -> tuple[float | None, float | None]:
    """Where the next of such values lies nineteen times of twenty; None where there are too few to tell.

    A prediction interval on the logit or log scale, mean ± t s √(1 + 1/n) (Student's t; Geisser 1993).
    """
    if len(values) < FEWEST_WEEKS or min(values) <= 0 or (is_share and max(values) >= 1):
        return None, None
    moved = logit(np.array(values)) if is_share else np.log(np.array(values))
    reach = float(student.ppf(0.5 + _WITHIN / 2, len(moved) - 1) * moved.std(ddof=1) * np.sqrt(1 + 1 / len(moved)))
    back = expit if is_share else np.exp
    return float(back(moved.mean() - reach)), float(back(moved.mean() + reach))


def _list_troubled(incidents: Sequence[store.Incident], rule: Rule) -> set[dt.date]:
    return {
        each.first_seen_date + _DAY * day
        for each in incidents
        if each.rule == rule.name and each.dimension is None
        for day in range((each.last_seen_date - each.first_seen_date).days + 1)
    }


def _list_incidents(
    state: sqlite3.Connection, incidents: Sequence[store.Incident], monday: dt.date, sunday: dt.date
) -> list[WeekIncident]:
    """Those with a message of their own that touch the week, the dearest first."""
    found = []
    for each in incidents:
        if each.folded_into is not None or each.first_seen_date > sunday or each.last_seen_date < monday:
            continue
        facts = store.read_facts(state, each.incident_id)
        impact = facts.causes.impact if isinstance(facts, KpiFacts) and facts.causes is not None else None
        found.append(
            WeekIncident(
                title=each.title,
                subject=each.dimension_value,
                first=each.first_seen_date.isoformat(),
                last=each.last_seen_date.isoformat(),
                is_over=each.status == "resolved",
                lost_orders=None if impact is None else impact.lost_orders,
                lost_usd=None if impact is None else impact.lost_revenue_usd,
            )
        )
    return sorted(found, key=lambda each: (-(each.lost_usd or 0.0), each.first, each.title))


def _find_opportunity(warehouse: duckdb.DuckDBPyConnection) -> str | None:
    """The segment whose recommended action would bring most, as `marts.dim_segments` estimates it."""
    wanted = {"segment_name", "sessions", "conversion_rate", "incremental_revenue_usd", "recommended_action"}
    if not wanted <= list_columns(warehouse, "marts.dim_segments").keys():
        return None
    row = warehouse.execute(
        """
        select segment_name, sessions, conversion_rate, incremental_revenue_usd, recommended_action
        from marts.dim_segments where incremental_revenue_usd > 0 order by incremental_revenue_usd desc limit 1
        """
    ).fetchone()
    if row is None:
        return None
    name, sessions, rate, extra, action = row
    return f"{name} ({sessions:,} sessions, {rate:.1%} bought), worth about ${extra:,.0f} if it works: {action}"


def _judge_data(warehouse: duckdb.DuckDBPyConnection, monday: dt.date, days: dict[dt.date, bool]) -> list[str]:
    """Which days there are, what was left out of them, what failed, and which columns came or went."""
    missing = [each for day in range(7) if (each := monday + _DAY * day) not in days]
    provisional = sum(days.values())
    text = "all 7 days" if not missing else f"{len(days)} of 7 days ({', '.join(map(str, missing))} missing)"
    said = [f"{text}{f', {provisional} still provisional' if provisional else ''}"]
    sunday = monday + _WEEK - _DAY
    if list_columns(warehouse, "ops.event_counts"):
        rows, bad, copies = warehouse.execute(
            """
            select coalesce(sum(raw_rows), 0), coalesce(sum(quarantined_rows), 0), coalesce(sum(duplicate_rows), 0)
            from ops.event_counts where event_date between ? and ?
            """,
            [monday, sunday],
        ).fetchall()[0]
        if rows:
            said.append(f"{rows:,} rows; left out: {bad:,} unusable, {copies:,} duplicates")
    if list_columns(warehouse, "ops.validation_results"):
        ((failed,),) = warehouse.execute(
            """
            select count(*) from (
                select * from ops.validation_results
                qualify validated_at = max(validated_at) over (partition by suite)
            ) where success = 0
            """
        ).fetchall()
        if failed:
            said.append(f"the newest validation warns of {failed} expectation{'' if failed == 1 else 's'} not met")
    if list_columns(warehouse, "ops.schema_changes"):
        changed = warehouse.execute(
            """
            select distinct column_name from ops.schema_changes
            where event_date between ? and ? and change is not null
            """,
            [monday, sunday],
        ).fetchall()
        if changed:
            said.append(f"columns that came, went or changed: {', '.join(sorted(row[0] for row in changed)[:5])}")
    return said


def _judge_models(warehouse: duckdb.DuckDBPyConnection) -> list[str]:
    """Which models score, how much better than chance they choose, and what is wrong with them."""
    said = []
    if {"lift_over_average", "target_share"} <= list_columns(warehouse, "marts.fct_business_case").keys():
        rows = warehouse.execute(
            """
            select distinct model, version, lift_over_average, judged_from, judged_to
            from marts.fct_business_case where target_share = 0.1 order by model
            """
        ).fetchall()
        said += [
            f"{model}, trained {version[:4]}-{version[4:6]}-{version[6:8]}: its first tenth bought {lift:.1f} times as "
            f"often as all, {begins} to {ends}"
            for model, version, lift, begins, ends in rows
        ]
    if list_columns(warehouse, "ops.model_drift"):
        drifted = warehouse.execute(
            """
            select model, count(*) from (
                select * from ops.model_drift qualify measured_at = max(measured_at) over (partition by model)
            ) where is_drifted group by model order by model
            """
        ).fetchall()
        said += [f"{model}: {count} measures have drifted; a retraining is due" for model, count in drifted]
    if list_columns(warehouse, "ops.refused_models"):
        refused = warehouse.execute("select model, reason from ops.refused_models order by model").fetchall()
        said += [f"{model} is not used: {reason}" for model, reason in refused]
    return said or ["none scores yet"]
