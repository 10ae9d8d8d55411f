"""Draws a week's KPIs as one picture: a line of weeks for each, the usual range, and the week that is reported."""

from __future__ import annotations

import json
from typing import Any

from alerts.messages.chart import BACKGROUND, BAND, CONFIG, INCIDENT, INK, MUTED, OBSERVED
from alerts.messages.facts import WeekFacts, WeekKpi
from alerts.text import cut, say_date, say_value

# Wide enough for what they hold: a longer text would move its row.
_ROW_HEIGHT, _LINE_WIDTH, _TEXT_WIDTH = 64, 300, 330


def draw_week(facts: WeekFacts) -> bytes:
    """PNG, about 1,700 pixels wide, a row a KPI."""
    # It takes a second to import, and most runs have nothing to draw.
    import vl_convert

    png: bytes = vl_convert.vegalite_to_png(json.dumps(describe_week_chart(facts)), scale=2)
    return png


def describe_week_chart(facts: WeekFacts) -> dict[str, Any]:
    """The picture in Vega-Lite."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "background": BACKGROUND,
        "padding": 20,
        "spacing": 14,
        "title": {
            "text": f"The week from {say_date(facts.mondays[-1])}, and those before it",
            "anchor": "start",
            "offset": 16,
        },
        "config": {**CONFIG, "concat": {"spacing": 14}},
        "vconcat": [_describe_row(kpi, facts.mondays) for kpi in facts.kpis],
    }


def _describe_row(kpi: WeekKpi, mondays: list[str]) -> dict[str, Any]:
    color = INCIDENT if kpi.is_unusual else OBSERVED
    values = [
        {"week": monday, "value": value, "is_last": monday == mondays[-1]}
        for monday, value in zip(mondays, kpi.values, strict=True)
        if value is not None
    ]
    seen = [each for each in (*kpi.values, kpi.low, kpi.high) if each is not None]
    low, high = min(seen, default=0.0), max(seen, default=1.0)
    pad = 0.1 * (high - low or abs(high) or 1.0)
    x = {"field": "week", "type": "ordinal", "axis": None, "scale": {"domain": mondays, "padding": 0.3}}
    y = {
        "field": "value",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [low - pad, high + pad], "nice": False},
    }
    layers: list[dict[str, Any]] = []
    if kpi.low is not None and kpi.high is not None:
        band = {"values": [{"low": kpi.low, "high": kpi.high}]}
        edges = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
        layers.append({"data": band, "mark": {"type": "rect", "color": BAND, "opacity": 0.35}, "encoding": edges})
    layers += [
        {"mark": {"type": "line", "color": OBSERVED, "strokeWidth": 3}, "encoding": {"x": x, "y": y}},
        {
            "transform": [{"filter": "datum.is_last"}],
            "mark": {"type": "point", "filled": True, "size": 160, "color": color, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
    ]
    return {
        "hconcat": [
            _describe_text(cut(kpi.title, 26), INK, "normal"),
            {"width": _LINE_WIDTH, "height": _ROW_HEIGHT, "data": {"values": values}, "layer": layers},
            _describe_text(say_value(kpi.value, kpi.unit), color, "bold", _say_range(kpi)),
        ]
    }


def _say_range(kpi: WeekKpi) -> str:
    if kpi.low is None or kpi.high is None:
        return "usual: not known yet"
    return f"usual {say_value(kpi.low, kpi.unit)} to {say_value(kpi.high, kpi.unit)}"


def _describe_text(text: str, color: str, weight: str, below: str | None = None) -> dict[str, Any]:
    lines = [(text, color, weight, 22, -12 if below else 0)]
    if below:
        lines.append((below, MUTED, "normal", 17, 15))
    return {
        "width": _TEXT_WIDTH,
        "height": _ROW_HEIGHT,
        "data": {"values": [{}]},
        "layer": [
            {
                "mark": {
                    "type": "text",
                    "text": line,
                    "color": line_color,
                    "fontWeight": line_weight,
                    "fontSize": size,
                    "align": "left",
                    "x": 4,
                    "y": _ROW_HEIGHT / 2 + shift,
                    "baseline": "middle",
                }
            }
            for line, line_color, line_weight, size, shift in lines
        ],
    }
