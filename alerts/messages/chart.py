"""Draws an incident as a PNG that can be read on a phone, on a light and on a dark background."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict
from typing import Any

from alerts.messages.content import say_name
from alerts.messages.facts import KpiFacts
from alerts.text import cut, say_date, say_hour

BACKGROUND, INK, MUTED, GRID = "#ffffff", "#1f2933", "#52606d", "#e4e7eb"
OBSERVED, BAND, EXPECTED, INCIDENT = "#1f4e79", "#9fb3c8", "#52606d", "#c81e1e"
_HALF_DAY = 12 * 60 * 60 * 1000

_COLOR: dict[str, Any] = {
    "type": "nominal",
    "scale": {
        "domain": ["observed", "expected", "usual range", "incident"],
        "range": [OBSERVED, EXPECTED, BAND, INCIDENT],
    },
    "legend": {"title": None, "orient": "bottom", "direction": "horizontal", "symbolType": "square"},
}
CONFIG: dict[str, Any] = {
    "font": "DejaVu Sans",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 20,
        "titleFontSize": 20,
        "labelColor": INK,
        "titleColor": MUTED,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
    },
    "title": {
        "fontSize": 28,
        "subtitleFontSize": 20,
        "color": INK,
        "subtitleColor": MUTED,
        "subtitlePadding": 8,
    },
    "legend": {
        "labelFontSize": 20,
        "labelColor": INK,
        "symbolSize": 300,
        "symbolOpacity": 1,
        "columnPadding": 24,
    },
}


def draw_incident(facts: KpiFacts) -> bytes:
    """PNG, about 1,700 x 1,000 pixels: the observed line, the usual range around what is expected, the incident red."""
    # It takes a second to import, and most runs have nothing to draw.
    import vl_convert

    png: bytes = vl_convert.vegalite_to_png(json.dumps(describe_chart(facts)), scale=2)
    return png


def describe_chart(facts: KpiFacts) -> dict[str, Any]:
    """The chart in Vega-Lite. A band with one edge is drawn to the edge of the plot."""
    is_hourly = any("T" in point.date for point in facts.points)
    half = _HALF_DAY // 24 if is_hourly else _HALF_DAY
    values = [_to_row(asdict(point), 1 if is_hourly else facts.period_days, half) for point in facts.points]
    domain = _value_domain(values)
    unit = "usd" if facts.unit == "usd" else "count" if is_hourly else facts.unit
    what = "purchases so far" if is_hourly and facts.hours and facts.hours.begun is not None else facts.kpi
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "data": {"values": values},
        "width": 740,
        "height": 360,
        "padding": 20,
        "background": BACKGROUND,
        "title": {
            "text": cut(say_name(facts.title, facts.dimension_value), 46),
            "subtitle": _subtitle(facts),
            "anchor": "start",
            "offset": 14,
        },
        "layer": _make_layers(unit, f"{what} so far" if is_hourly and what == facts.kpi else what, domain, is_hourly),
        "config": CONFIG,
    }


def _make_layers(unit: str, kpi: str, domain: list[float] | None, is_hourly: bool) -> list[dict[str, Any]]:
    # Dates have no zone: drawn as UTC, or a chart made west of Greenwich would be a day off.
    x: dict[str, Any] = {
        "field": "date",
        "type": "temporal",
        "scale": {"type": "utc"},
        "axis": {
            "format": "%H:%M" if is_hourly else "%-d %b",
            "tickCount": 6,
            "title": None,
            "grid": False,
            "labelFlush": False,
        },
    }
    scale = {"zero": False, "nice": False, "domain": domain} if domain else {"zero": False}
    y_axis = {
        "format": {"share": ".0%", "usd": "$,.0f"}.get(unit, ",~f"),
        "title": {"share": None, "seconds": "seconds", "usd": "USD", "hours": "hours"}.get(unit, _words(kpi)),
        "tickCount": 5,
    }

    def y(field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "scale": scale, "axis": y_axis}

    def draw(name: str, mark: dict[str, Any], encoding: dict[str, Any], only: str | None = None) -> dict[str, Any]:
        layer: dict[str, Any] = {"mark": mark, "encoding": {**encoding, "color": {"datum": name, **_COLOR}}}
        return layer if only is None else {"transform": [{"filter": only}], **layer}

    return [
        {
            "transform": [{"filter": "datum.is_incident"}],
            "mark": {"type": "rect", "color": INCIDENT, "opacity": 0.14},
            "encoding": {"x": {**x, "field": "start"}, "x2": {"field": "end"}},
        },
        draw(
            "usual range",
            {"type": "area", "opacity": 0.45, "clip": True},
            {"x": x, "y": y("low"), "y2": {"field": "high"}},
            only="isValid(datum.low) && isValid(datum.high)",
        ),
        draw(
            "expected",
            {"type": "line", "strokeWidth": 3, "strokeDash": [4, 6], "clip": True},
            {"x": x, "y": y("expected")},
        ),
        draw("observed", {"type": "line", "strokeWidth": 4, "clip": True}, {"x": x, "y": y("observed")}),
        draw(
            "incident",
            {"type": "point", "filled": True, "size": 280, "opacity": 1},
            {"x": x, "y": y("observed")},
            only="datum.is_incident",
        ),
    ]


def _to_row(point: dict[str, Any], period_days: int, half: int) -> dict[str, Any]:
    date = dt.datetime.fromisoformat(point["date"]).replace(tzinfo=dt.UTC)
    middle = int(date.timestamp() * 1000)
    return {
        **point,
        "date": middle,
        "start": middle - half - (period_days - 1) * 2 * half,
        "end": middle + half,
        "low": point["band_low"],
        "high": point["band_high"],
    }


def _value_domain(rows: list[dict[str, Any]]) -> list[float] | None:
    """The range of all that is drawn, with room; fills in a band's open side with the range's end."""
    keys = ("observed", "expected", "low", "high")
    values = [row[key] for row in rows for key in keys if row[key] is not None]
    if not values:
        return None
    room = (max(values) - min(values)) * 0.08 or abs(values[0]) * 0.1 or 1.0
    low, high = min(values) - room, max(values) + room
    # Nothing that is watched can be negative: the axis does not suggest it.
    low = max(low, 0.0) if min(values) >= 0 else low
    for row in rows:
        if row["low"] is None and row["high"] is not None:
            row["low"] = low
        elif row["high"] is None and row["low"] is not None:
            row["high"] = high
    return [low, high]


def _words(column: str) -> str:
    return column.replace("_", " ")


def _subtitle(facts: KpiFacts) -> str:
    if facts.hours is not None and facts.hours.decides and facts.hours.so_far:
        until = "" if facts.hours.until is None else f" to {say_hour(facts.hours.until)}"
        begin = say_hour(facts.hours.since, with_date=True)
        return f"Incident (red): from {begin}{until}" if until else f"Incident (red): since {begin}"
    first, last = facts.standing.first_seen_date, facts.standing.last_seen_date
    if first == last:
        return f"Incident (red): {say_date(first)}"
    return f"Incident (red): {say_date(first, with_year=False)} to {say_date(last)}"
