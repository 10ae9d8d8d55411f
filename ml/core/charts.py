"""The charts of a model card as SVG: discrimination, calibration, gains, points and importance."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.core.metrics import CALIBRATION_BINS, Estimate, Evaluation, Flags, Floats, wilson_interval

Spec = dict[str, Any]

INK, GRID, MUTED = "#1f2933", "#e4e7eb", "#7b8794"
COLORS = ("#1f4e79", "#b45309", "#4d7c0f", "#7e22ce")
MAX_POINTS = 200  # of a curve; more can't be seen
_PERCENT = "~%"  # without trailing zeros
_SIZE = {"width": 330, "height": 260}
_CONFIG = {
    "background": "white",
    "padding": {"left": 24, "top": 12, "right": 12, "bottom": 12},  # a browser's letters are wider than the renderer's
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 220,
    },
    "legend": {"orient": "bottom", "title": None, "labelColor": INK, "labelFontSize": 12, "direction": "horizontal"},
    "title": {"color": INK, "fontSize": 14, "anchor": "start", "fontWeight": 600},
}


def render_svg(spec: Spec) -> str:
    """The chart as one SVG text, without any reference to the outside."""
    # Starting the converter takes a second; only a training that writes a card pays it.
    import vl_convert

    whole = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "config": _CONFIG, **spec}
    return str(vl_convert.vegalite_to_svg(whole))


def draw_roc(labels: Flags, curves: dict[str, Floats]) -> Spec:
    """Share of buyers found against share of others flagged, for each set of scores (n,)."""
    rows = []
    for name, scores in curves.items():
        found, _, flagged = _count_from_the_top(labels, scores)
        rows += _thin({"x": flagged / flagged[-1], "y": found / found[-1]}, name)
    lines = _lines(rows, list(curves), "sessions without a purchase flagged", "purchases found", (0.0, 1.0))
    return {"title": "ROC curve", **_SIZE, "layer": [_diagonal(), lines]}


def draw_precision_recall(labels: Flags, curves: dict[str, Floats]) -> Spec:
    """Precision against recall, with the base rate as a line."""
    rows: list[dict[str, Any]] = []
    highest = 0.0
    for name, scores in curves.items():
        found, listed, _ = _count_from_the_top(labels, scores)
        recall, precision = (found / found[-1])[1:], found[1:] / listed[1:]
        enough = recall >= 0.01  # before, the curve is a handful of sessions
        rows += _thin({"x": recall[enough], "y": precision[enough]}, name)
        highest = max(highest, float(precision[enough].max()))
    lines = _lines(rows, list(curves), "purchases found (recall)", "precision", (0.0, min(1.0, 1.1 * highest)))
    base = {
        "data": {"values": [{"y": float(labels.mean())}]},
        "mark": {"type": "rule", "color": MUTED, "strokeDash": [4, 4]},
        "encoding": {"y": {"field": "y", "type": "quantitative"}},
    }
    return {"title": "Precision and recall", **_SIZE, "layer": [base, lines]}


def draw_reliability(labels: Flags, curves: dict[str, Floats]) -> Spec:
    """Observed purchase rate against the mean prediction in ten equally filled bins, with Wilson intervals."""
    rows: list[dict[str, Any]] = []
    for name, scores in curves.items():
        edges = np.quantile(scores, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
        bins = np.searchsorted(edges, scores, side="right")
        for number in np.unique(bins):
            inside = bins == number
            low, high = wilson_interval(int(labels[inside].sum()), int(inside.sum()))
            rows.append(
                {
                    "x": round(float(scores[inside].mean()), 5),
                    "y": round(float(labels[inside].mean()), 5),
                    "low": round(low, 5),
                    "high": round(high, 5),
                    "series": name,
                }
            )
    top = max(max(row["x"], row["high"]) for row in rows)
    lines = _lines(rows, list(curves), "predicted", "observed", (0.0, top), x_domain=(0.0, top), point=True)
    bars = {
        "data": {"values": rows},
        "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.6},
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "low", "type": "quantitative"},
            "y2": {"field": "high"},
            "color": _color(list(curves)),
        },
    }
    return {"title": "Reliability", **_SIZE, "layer": [_diagonal(top), bars, lines]}


def draw_gains(labels: Flags, curves: dict[str, Floats]) -> Spec:
    """Share of purchases reached by the top share of sessions; the distance to the diagonal is the lift."""
    rows = []
    for name, scores in curves.items():
        found, listed, _ = _count_from_the_top(labels, scores)
        rows += _thin({"x": listed / listed[-1], "y": found / found[-1]}, name)
    lines = _lines(rows, list(curves), "sessions, best score first", "purchases reached", (0.0, 1.0))
    return {"title": "Cumulative gains", **_SIZE, "layer": [_diagonal(), lines]}


def draw_groups(title: str, members: dict[str, Evaluation]) -> Spec:
    """ROC-AUC with its interval, a line for each member of a group."""
    rows = []
    for name, evaluation in members.items():
        auc = evaluation.metrics["roc_auc"]
        if auc.value is not None:
            rows.append({"name": name, "value": auc.value, "low": auc.low, "high": auc.high})
    return _dots(title, rows, "ROC-AUC", list(members), zero=False)


def draw_importance(importance: dict[str, Estimate], *, shown: int = 15) -> Spec:
    """The ROC-AUC lost when a feature is shuffled, with its interval, of the most important features."""
    rows = [
        {"name": name, "value": estimate.value, "low": estimate.low, "high": estimate.high}
        for name, estimate in list(importance.items())[:shown]
    ]
    return _dots("Permutation importance", rows, "ROC-AUC lost when shuffled", list(importance)[:shown], zero=True)


def _dots(title: str, rows: list[dict[str, Any]], axis_title: str, order: list[str], *, zero: bool) -> Spec:
    y = {"field": "name", "type": "nominal", "sort": order, "title": None}
    x = {"type": "quantitative", "title": axis_title, "scale": {"zero": zero}}
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "color": COLORS[0], "strokeWidth": 2, "opacity": 0.6},
            "encoding": {"x": {"field": "low", **x}, "x2": {"field": "high"}, "y": y},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1, "color": COLORS[0]},
            "encoding": {"x": {"field": "value", **x}, "y": y},
        },
    ]
    return {"title": title, "width": 330, "height": {"step": 22}, "data": {"values": rows}, "layer": layers}


def _count_from_the_top(labels: Flags, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Positives, rows and negatives at or above each distinct score, from nothing to all."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    found = np.r_[0.0, np.cumsum(labels[order])[last]]
    listed = np.r_[0.0, last + 1.0]
    return found, listed, listed - found


def _thin(columns: dict[str, Floats], name: str) -> list[dict[str, Any]]:
    n = len(columns["x"])
    kept = np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).round().astype(int))
    return [
        {"x": round(float(columns["x"][row]), 4), "y": round(float(columns["y"][row]), 4), "series": name}
        for row in kept
    ]


def _lines(
    rows: list[dict[str, Any]],
    names: list[str],
    x_title: str,
    y_title: str,
    y_domain: tuple[float, float],
    *,
    x_domain: tuple[float, float] = (0.0, 1.0),
    point: bool = False,
) -> Spec:
    mark: Spec = {"type": "line", "strokeWidth": 2.2}
    if point:
        mark["point"] = {"filled": True, "size": 36}
    return {
        "data": {"values": rows},
        "mark": mark,
        "encoding": {
            "x": _axis("x", x_title, x_domain),
            "y": _axis("y", y_title, y_domain),
            "order": {"field": "x", "type": "quantitative"},
            "color": _color(names),
        },
    }


def _axis(field: str, title: str, domain: tuple[float, float]) -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"domain": list(domain), "nice": False},
        "axis": {"format": _PERCENT, "tickCount": 5},
    }


def _color(names: list[str]) -> Spec:
    return {"field": "series", "type": "nominal", "scale": {"domain": names, "range": list(COLORS[: len(names)])}}


def _diagonal(top: float = 1.0) -> Spec:
    return {
        "data": {"values": [{"x": 0.0, "y": 0.0}, {"x": top, "y": top}]},
        "mark": {"type": "line", "color": MUTED, "strokeDash": [4, 4], "strokeWidth": 1},
        "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
    }
