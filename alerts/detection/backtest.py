"""Replays the rules over the published history, day by day, and shows what would have fired."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import Any

import duckdb

from alerts.detection.evaluation import evaluate_rules
from alerts.detection.panel import DAILY_TABLE, KpiTablesError
from alerts.detection.verdicts import Check
from alerts.rules.book import Rule, RuleBook
from alerts.text import say_value

_INK, _GRID, _OBSERVED, _BAND, _FIRED, _VALUE = "#1f2933", "#e4e7eb", "#1f4e79", "#b8c7d9", "#c81e1e", "#b45309"


@dataclass(frozen=True)
class Fired:
    """An incident as the rules alone would have opened it: breaches without a normal day between them."""

    checks: list[Check]  # the breaches, oldest first

    @property
    def first(self) -> dt.date:
        """The first day; of a week that breached, its first."""
        return self.checks[0].date - dt.timedelta(days=self.checks[0].period_days - 1)

    @property
    def last(self) -> dt.date:
        """The last day that breached."""
        return self.checks[-1].date

    @property
    def worst(self) -> Check:
        """The breach that lay furthest out."""
        return max(self.checks, key=lambda check: abs(check.figures.z or 0.0))


@dataclass(frozen=True)
class Backtest:
    """What the rules would have said from `first` to `last`."""

    book: RuleBook
    first: dt.date
    last: dt.date
    checks: list[Check]
    fired: list[Fired]


def replay(warehouse: duckdb.DuckDBPyConnection, book: RuleBook, *, as_of: dt.datetime, days: int | None) -> Backtest:
    """Evaluate the newest `days` complete days (None: all), each from the days before it alone.

    The days are replayed as they are now, complete, even if they came late or were rewritten. Raises `KpiTablesError`
    when no complete day is published.
    """
    dates = [
        row[0]
        for row in warehouse.execute(
            f"select kpi_date from {DAILY_TABLE} where not is_provisional order by kpi_date"
        ).fetchall()
    ]
    if not dates:
        raise KpiTablesError(f"{DAILY_TABLE} has no complete day to replay")
    dates = dates[-days:] if days else dates
    found = evaluate_rules(warehouse, book, as_of=as_of, excluded={}, since=dates[0])
    checks = [check for check in found if not check.is_provisional]
    return Backtest(book, dates[0], dates[-1], checks, find_fired(checks))


def find_fired(checks: list[Check]) -> list[Fired]:
    """The incidents in checks whose days are in order: a breach opens or extends one, a normal day ends it."""
    still_open: dict[str, Fired] = {}
    fired: list[Fired] = []
    for check in checks:
        if check.verdict == "breach":
            if check.fingerprint not in still_open:
                still_open[check.fingerprint] = Fired([])
                fired.append(still_open[check.fingerprint])
            still_open[check.fingerprint].checks.append(check)
        elif check.verdict == "normal":
            still_open.pop(check.fingerprint, None)
    return sorted(fired, key=lambda each: (each.first, each.checks[0].fingerprint))


def find_causes(fired: list[Fired]) -> list[list[Fired]]:
    """The incidents that overlap in time, together: at most as many messages as there are groups."""
    groups: list[list[Fired]] = []
    for each in sorted(fired, key=lambda each: each.first):
        if groups and each.first <= max(other.last for other in groups[-1]):
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def say_backtest(result: Backtest) -> str:
    """A line per rule, then the incidents, those that overlap together."""
    days = (result.last - result.first).days + 1
    lines = [f"{result.first} to {result.last}, {days} days", ""]
    rows: list[tuple[str, ...]] = [("rule", "checks", "untested", "incidents", "of values", "alerting days")]
    for rule in result.book.rules:
        mine = [check for check in result.checks if check.rule == rule.name]
        fired = [each for each in result.fired if each.checks[0].rule == rule.name]
        verdicts = Counter(check.verdict for check in mine)
        of_values = sum(each.checks[0].dimension is not None for each in fired)
        alerting = len({check.date for check in mine if check.verdict == "breach"})
        counts = (len(mine), verdicts["untested"], len(fired) - of_values, of_values, alerting)
        rows.append((rule.name, *(f"{count:,}" for count in counts)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines += [
        "  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    untested = [
        (rule.name, next((check.figures.reason for check in result.checks if check.rule == rule.name), "no days"))
        for rule in result.book.rules
        if all(check.verdict == "untested" for check in result.checks if check.rule == rule.name)
    ]
    lines += [f"  {name} is not tested: {reason}" for name, reason in untested]
    units = {rule.name: rule.unit for rule in result.book.rules}
    causes = find_causes(result.fired)
    lines += [
        "",
        f"{len(result.fired)} incidents at {len(causes)} different times" if causes else "Nothing would have fired.",
    ]
    for group in causes:
        lines.append(f"{min(each.first for each in group)} to {max(each.last for each in group)}")
        for each in group:
            check = each.worst
            what = f"{check.rule}" + (f" {check.dimension}={check.dimension_value}" if check.dimension else "")
            seen, usual = (_say(value, units[check.rule]) for value in (check.figures.observed, check.figures.expected))
            lines.append(
                f"  {each.first} {len(each.checks)}x  {what}: {seen}, expected {usual}; {check.figures.reason}"
            )
    return "\n".join(lines)


def draw_backtest(result: Backtest) -> bytes:
    """PNG, a panel per KPI rule: observed, expected band, the days that would have fired (whole shop, and values)."""
    import altair as alt
    import vl_convert

    panels = [_draw_rule(alt, rule, result) for rule in result.book.rules if rule.kind == "kpi"]
    chart = (
        alt.vconcat(*panels, spacing=18)
        .properties(
            title=alt.Title(
                "What the alert rules would have said",
                subtitle=f"{result.first} to {result.last}: observed line, expected band, red: the whole shop fires, "
                "orange triangle: only a device, channel or other value does",
                anchor="start",
                offset=12,
            )
        )
        .configure(background="#ffffff", font="DejaVu Sans", padding=16)
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=12, titleFontSize=12, labelColor=_INK, titleColor=_INK, gridColor=_GRID)
        .configure_title(fontSize=15, subtitleFontSize=12, color=_INK, subtitleColor=_INK)
    )
    png: bytes = vl_convert.vegalite_to_png(chart.to_json(), scale=1.5)
    return png


def _draw_rule(alt: Any, rule: Rule, result: Backtest) -> Any:
    mine = [check for check in result.checks if check.rule == rule.name]
    points: dict[dt.date, dict[str, Any]] = {}
    for check in mine:
        if check.dimension is None:
            point = points.setdefault(check.date, {"date": check.date.isoformat(), "fires": False})
            point.update(observed=check.figures.observed, low=check.figures.band_low, high=check.figures.band_high)
            point["fires"] |= check.verdict == "breach"
    values = Counter(check.date for check in mine if check.dimension is not None and check.verdict == "breach")
    marks = [
        {"date": date.isoformat(), "count": count}
        for date, count in sorted(values.items())
        if not points.get(date, {}).get("fires")
    ]
    # Dates have no zone: drawn as UTC, or a chart made west of Greenwich would be a day off.
    utc = alt.Scale(type="utc", domain=[f"{result.first}T00:00:00Z", f"{result.last}T00:00:00Z"])
    x = alt.X("date:T", scale=utc, axis=alt.Axis(format="%-d %b", title=None, grid=False, tickCount=10))
    style = {"share": ".0%", "usd": "$,.0f"}.get(rule.unit, ",.0f")
    y_axis = alt.Axis(format=style, title=None, tickCount=4)
    base = alt.Chart(alt.InlineData(values=[points[date] for date in sorted(points)]))
    band = base.mark_area(color=_BAND, opacity=0.6).encode(x=x, y=alt.Y("low:Q", axis=y_axis), y2="high:Q")
    line = base.mark_line(color=_OBSERVED, strokeWidth=2).encode(
        x=x, y=alt.Y("observed:Q", axis=y_axis, scale=alt.Scale(zero=False))
    )
    fires = (
        base.transform_filter("datum.fires")
        .mark_point(filled=True, size=90, color=_FIRED, opacity=1)
        .encode(x=x, y="observed:Q")
    )
    ticks = (
        alt.Chart(alt.InlineData(values=marks))
        .mark_point(shape="triangle-up", filled=True, size=70, color=_VALUE, opacity=1)
        .encode(x=x, y=alt.value(142))
    )
    title = alt.Title(rule.title, fontSize=13, anchor="start")
    return alt.layer(band, line, fires, ticks).properties(width=860, height=150, title=title)


def _say(value: float | None, unit: Any) -> str:
    return "-" if value is None else say_value(value, unit)
