"""Draws an incident as a PNG that can be read on a phone, on a light and on a dark background."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict

from alerts.facts import IncidentFacts
from alerts.message import cut

_INK, _GRID = "#1f2933", "#e4e7eb"
_OBSERVED, _EXPECTED, _BOUND, _INCIDENT = "#1f4e79", "#52606d", "#b45309", "#c81e1e"


def draw_incident(facts: IncidentFacts) -> bytes:
    """PNG, about 1,650 x 1,100 pixels: observed line, trailing value, alert bound, the incident's days marked."""
    # Altair takes over a second to import, and most runs have nothing to draw.
    import altair as alt

    data = alt.InlineData(values=[asdict(point) for point in facts.points])
    axis_format = {"share": ".0%", "usd": "$,.0f"}.get(facts.unit, ",.0f")
    axis_title = {"share": None, "seconds": "seconds", "usd": "USD"}.get(facts.unit, facts.kpi.replace("_", " "))
    # Dates have no zone: drawn as UTC, or a chart made west of Greenwich would be a day off.
    x = alt.X(
        "date:T",
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format="%-d %b", tickCount=6, title=None, grid=False, labelFlush=False),
    )
    y_scale = alt.Scale(zero=False, nice=True, padding=12)
    y_axis = alt.Axis(format=axis_format, title=axis_title, tickCount=5)
    y = alt.Y("observed:Q", scale=y_scale, axis=y_axis)
    base = alt.Chart(data)
    series = {
        "observed": (_OBSERVED, []),
        "trailing value": (_EXPECTED, [3, 5]),
        "alert bound": (_BOUND, [12, 6]),
    }
    color = alt.Color(
        "series:N",
        scale=alt.Scale(domain=list(series), range=[color for color, _ in series.values()]),
        legend=alt.Legend(title=None, orient="bottom", direction="horizontal", symbolSize=900, symbolStrokeWidth=6),
    )
    dash = alt.StrokeDash(
        "series:N",
        scale=alt.Scale(domain=list(series), range=[dash or [1, 0] for _, dash in series.values()]),
        legend=None,
    )
    lines = (
        base.transform_calculate(**{"trailing value": "datum.expected", "alert bound": "datum.bound"})
        .transform_fold(list(series), as_=["series", "value"])
        .mark_line(strokeWidth=4)
        .encode(x=x, y=alt.Y("value:Q", scale=y_scale, axis=y_axis), color=color, strokeDash=dash)
    )
    half_day = 12 * 60 * 60 * 1000
    shade = (
        base.transform_filter("datum.is_incident")
        .transform_calculate(start=f"toDate(datum.date) - {half_day}", end=f"toDate(datum.date) + {half_day}")
        .mark_rect(color=_INCIDENT, opacity=0.14)
        .encode(x=alt.X("start:T", scale=alt.Scale(type="utc")), x2="end:T")
    )
    points = (
        base.transform_filter("datum.is_incident")
        .mark_point(filled=True, size=260, color=_INCIDENT, opacity=1)
        .encode(x=x, y=y)
    )
    chart = (
        alt.layer(shade, lines, points)
        .properties(
            width=720,
            height=360,
            title=alt.Title(cut(facts.title, 44), subtitle=_subtitle(facts), anchor="start", offset=14),
        )
        .configure(background="#ffffff", font="DejaVu Sans", padding=20)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=20, titleFontSize=20, labelColor=_INK, titleColor=_INK, gridColor=_GRID, domainColor=_INK
        )
        .configure_title(fontSize=28, subtitleFontSize=20, color=_INK, subtitleColor=_INK, subtitlePadding=8)
        .configure_legend(labelFontSize=20, labelColor=_INK, labelLimit=300)
    )
    return _to_png(chart.to_json())


def _subtitle(facts: IncidentFacts) -> str:
    first, last = (dt.date.fromisoformat(date) for date in (facts.first_seen_date, facts.last_seen_date))
    days = f"{first.day} {first:%b %Y}" if first == last else f"{first.day} {first:%b} to {last.day} {last:%b %Y}"
    return f"Incident: {days} (red)"


def _to_png(spec: str) -> bytes:
    import vl_convert

    png: bytes = vl_convert.vegalite_to_png(spec, scale=2)
    return png
