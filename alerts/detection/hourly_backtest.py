"""Replays the hourly rules over the published past, each hour as it would have been known at its end."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from alerts.detection.evaluation import evaluate_rules
from alerts.detection.hourly import HourlyWalk
from alerts.detection.hourly_checks import find_learnt_days, walk_panel_hours
from alerts.detection.hourly_panel import HourlyPanel, has_hours, read_hourly_panel
from alerts.detection.panel import DAILY_TABLE, KpiTablesError
from alerts.detection.scales import Floats
from alerts.rules.book import Rule, RuleBook
from alerts.text import say_date, say_value

_INK, _GRID, _LINE, _FIRED = "#1f2933", "#e4e7eb", "#1f4e79", "#c81e1e"
# The chart shows what came of what should have come over so many hours.
_CHART_HOURS = 6


@dataclass(frozen=True)
class Told:
    """A spell as it would have been told: when it was found, when it began and ended, and what was known of it then."""

    label: tuple[str, str] | None
    found_at: dt.datetime
    since: dt.datetime
    until: dt.datetime | None
    came: float
    begun: float
    expected: float

    @property
    def hours_to_find(self) -> int:
        """Whole hours from its begin to when it was found."""
        return round((self.found_at - self.since).total_seconds() / 3600)


@dataclass(frozen=True)
class RuleReplay:
    """One rule's replay: what would have been told, and the whole shop's hours for the chart (`at`, `ratio`)."""

    rule: Rule
    hours: int
    told: list[Told]
    at: list[dt.datetime]
    ratio: Floats


def replay_hours(
    warehouse: duckdb.DuckDBPyConnection, book: RuleBook, *, as_of: dt.datetime, zone: ZoneInfo, days: int | None
) -> list[RuleReplay]:
    """Walk through the hours of the newest `days` days (None: all that have a past to be compared with).

    Of every hour only counts what had come by the end of the hour that is decided, by event time. Raises
    `KpiTablesError` when no hours are published.
    """
    if not has_hours(warehouse):
        raise KpiTablesError("no hours are published: build and publish the marts first")
    row = warehouse.execute(f"select max(kpi_date) - min(kpi_date) + 1, min(kpi_date) from {DAILY_TABLE}").fetchone()
    if row is None or row[0] is None:
        raise KpiTablesError(f"{DAILY_TABLE} has no day to replay")
    replays = []
    for rule in (rule for rule in book.rules if rule.hourly is not None):
        panel = read_hourly_panel(warehouse, rule, zone=zone, days=int(row[0]))
        if panel is None:
            continue
        first = panel.dates[max(0, len(panel.dates) - days)] if days else panel.dates[0]
        own = book.model_copy(update={"rules": [rule]})
        checks = evaluate_rules(warehouse, own, as_of=as_of, excluded={}, since=row[1])
        learns = find_learnt_days(rule, panel, checks, {})
        walk = walk_panel_hours(book, rule, panel, first=first, learns=learns)
        replays.append(_make_replay(rule, panel, walk, first))
    return replays


def _make_replay(rule: Rule, panel: HourlyPanel, walk: HourlyWalk, first: dt.date) -> RuleReplay:
    hour = dt.timedelta(hours=1)
    told = []
    for spell in walk.spells:
        measured = walk.measure(spell.series, spell.since, spell.found + 1, spell.found)
        told.append(
            Told(
                label=panel.labels[spell.series],
                found_at=panel.starts[spell.found] + hour,
                since=panel.starts[spell.since],
                until=None if spell.until is None else panel.starts[spell.until],
                came=measured.came,
                begun=measured.begun,
                expected=measured.expected,
            )
        )
    begin = int(np.searchsorted(panel.series.timeline.day, panel.dates.index(first)))
    at, ratio = [], []
    for place in range(begin + _CHART_HOURS, panel.over, _CHART_HOURS):
        measured = walk.measure(0, place - _CHART_HOURS, place, min(place + 2, panel.over - 1))
        if measured.expected >= 1.0:
            at.append(panel.starts[place])
            ratio.append(measured.came / measured.expected)
    return RuleReplay(rule, panel.over - begin, told, at, np.array(ratio))


def say_hourly_backtest(replays: list[RuleReplay], zone: ZoneInfo) -> str:
    """A line per rule, then what would have been told, oldest first."""
    lines = [f"{'rule':28} {'hours':>8} {'told':>6}"]
    lines += [f"{each.rule.name:28} {each.hours:>8,} {len(each.told):>6,}" for each in replays]
    lines.append("")
    found = sorted(((told, each.rule) for each in replays for told in each.told), key=lambda pair: pair[0].found_at)
    if not found:
        return "\n".join([*lines, "Nothing would have been told."])
    for told, rule in found:
        what = rule.name + (f" {told.label[0]}={told.label[1]}" if told.label else "")
        unit = "usd" if rule.unit == "usd" else "count"
        came, expected = say_value(told.came, unit), say_value(told.expected, unit)
        of = f" of {say_value(told.begun, 'count')}" if told.begun else ""
        until = "goes on" if told.until is None else f"until {_say(told.until, zone)}"
        lines.append(
            f"  {_say(told.found_at, zone)}  {what}: {came}{of}, {expected} expected since {_say(told.since, zone)} "
            f"({told.hours_to_find} h); {until}"
        )
    return "\n".join(lines)


def draw_hourly_backtest(replays: list[RuleReplay]) -> bytes:
    """PNG, a panel per rule: what came of what should have come, six hours a point, and the spells in red."""
    import altair as alt
    import vl_convert

    panels = [_draw(alt, each) for each in replays if each.at]
    chart = (
        alt.vconcat(*panels, spacing=18)
        .properties(
            title=alt.Title(
                "What the hourly rules would have said",
                subtitle="what came of what should have come, six hours a point; red: told, the whole shop or a value",
                anchor="start",
                offset=12,
            )
        )
        .configure(background="#ffffff", font="DejaVu Sans", padding=16)
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=12, labelColor=_INK, gridColor=_GRID)
        .configure_title(fontSize=15, subtitleFontSize=12, color=_INK, subtitleColor=_INK)
    )
    png: bytes = vl_convert.vegalite_to_png(chart.to_json(), scale=1.5)
    return png


def _draw(alt: Any, replay: RuleReplay) -> Any:
    points = [
        {"at": at.isoformat(), "ratio": min(float(ratio), 2.0)}
        for at, ratio in zip(replay.at, replay.ratio, strict=True)
    ]
    spells = [
        {"since": told.since.isoformat(), "until": (told.until or replay.at[-1]).isoformat()} for told in replay.told
    ]
    utc = alt.Scale(type="utc", domain=[replay.at[0].isoformat(), replay.at[-1].isoformat()])
    x = alt.X("at:T", scale=utc, axis=alt.Axis(format="%-d %b", title=None, grid=False, tickCount=10))
    y = alt.Y("ratio:Q", scale=alt.Scale(domain=[0, 2]), axis=alt.Axis(format=".0%", title=None, tickCount=4))
    line = alt.Chart(alt.InlineData(values=points)).mark_line(color=_LINE, strokeWidth=1.5).encode(x=x, y=y)
    told = (
        alt.Chart(alt.InlineData(values=spells))
        .mark_rect(color=_FIRED, opacity=0.35)
        .encode(x=alt.X("since:T", scale=utc), x2="until:T")
    )
    return alt.layer(told, line).properties(
        width=860, height=120, title=alt.Title(replay.rule.title, fontSize=13, anchor="start")
    )


def _say(moment: dt.datetime, zone: ZoneInfo) -> str:
    local = moment.astimezone(zone)
    return f"{say_date(local.date().isoformat(), with_year=False)} {local:%H:%M}"
