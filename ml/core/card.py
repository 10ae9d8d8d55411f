"""The model card: one HTML file that says what a version is, how good it is, and what it may be used for."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from ml.core.charts import (
    Spec,
    draw_gains,
    draw_groups,
    draw_importance,
    draw_precision_recall,
    draw_reliability,
    draw_roc,
    render_svg,
)
from ml.core.drift import MIN_PSI, NULL_QUANTILE, FeatureDrift, RateDrift
from ml.core.evaluation import BASE_RATE, BEST_FLAG, CHAMPION, CHECKOUT_FLAG, Judgement
from ml.core.metrics import Estimate
from ml.core.record import PropensityRecord

HIGH_INFLATION = 10.0
SHOWN_METRICS = {
    "roc_auc": "ROC-AUC",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "calibration_error": "Calibration error (ECE)",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "lift_at_10_percent": "Lift, top 10 %",
    "lift_at_20_percent": "Lift, top 20 %",
    "base_rate": "Purchase rate",
}
DIGITS = {"brier": 4}  # of the others three
GROUP_METRICS = ("roc_auc", "average_precision", "calibration_error", "lift_at_10_percent", "base_rate")
GAIN_METRICS = ("roc_auc", "average_precision", "brier", "lift_at_10_percent", "lift_at_20_percent")
RIVAL_NAMES = {
    BASE_RATE: "the base rate",
    BEST_FLAG: "the best single flag",
    CHECKOUT_FLAG: "whether the checkout was reached",
    CHAMPION: "the previous champion",
}
FAMILY_NAMES = {
    "logistic_regression": "logistic regression",
    "random_forest": "random forest",
    "gradient_boosting": "gradient-boosted trees",
    "average": "mean of logistic regression, random forest and gradient-boosted trees",
}
PURPOSES: dict[str, tuple[str, ...]] = {
    "propensity_full": (
        "It ranks finished sessions by how much they looked like a purchase, from everything before the first "
        "purchase. Use "
        "it to describe sessions, to build audiences for later contact, and as an input to reports.",
        "It may not be used to decide anything during a session: it has seen the cart, the checkout and the end of the "
        "session, so it is far better than any model could be while there is still time to act.",
    ),
    "propensity_precheckout": (
        "It ranks live sessions that have neither cart, checkout nor purchase yet, at fixed moments, by the chance "
        "that a purchase follows. Use it, within an experiment, to decide whom to help or make an offer to.",
        "It may not be applied to sessions that already have a cart, or at moments other than its decision points: it "
        "was neither trained nor judged there.",
    ),
}
GENERAL_LIMITS = (
    "It predicts; it does not explain: a high score does not mean that an offer would change anything. Only an "
    "experiment with a control group can tell.",
    "It may not decide on prices, credit or access for individual people, and it must not be used to find out who "
    "somebody is.",
    "It knows the shop as it was on the training days. After a new checkout, a different consent banner or a change "
    "in tracking, train again and look at this page before trusting it.",
)


@dataclass(frozen=True)
class HeldOutDrift:
    """How the held-out periods differ from those before them, feature by feature and in the purchase rate."""

    features: tuple[FeatureDrift, ...]
    rate: RateDrift


@dataclass(frozen=True)
class ModelCard:
    """What a card shows: the record, the judgement on the held-out periods, and what was measured about features.

    `drift` is a sentence that says why where it could not be measured.
    """

    name: str
    record: PropensityRecord
    judgement: Judgement
    importance: dict[str, Estimate]
    variance_inflation: dict[str, float]
    drift: HeldOutDrift | str


def write_card(card: ModelCard) -> str:
    """The card as one HTML text that needs nothing from outside: styles and charts are inside."""
    judgement = card.judgement
    curves = {"model": judgement.scores}
    curves_with_flag = curves if judgement.flag is None else {**curves, "best single flag": judgement.flag_scores}
    charts = [
        draw_roc(judgement.labels, curves_with_flag),
        draw_precision_recall(judgement.labels, curves_with_flag),
        draw_reliability(
            judgement.labels, {"as scored": judgement.scores, "without correction": judgement.plain_scores}
        ),
        draw_gains(judgement.labels, curves_with_flag),
    ]
    points = judgement.by_group.get("decision_point", {})
    if points:
        charts.append(draw_groups("ROC-AUC by decision point", points))
    if card.importance:
        charts.append(draw_importance(card.importance))
    sections = [
        _section("In short", _summarise(card)),
        _section("What it may be used for", _list(_purposes(card.name))),
        _section("What it may not be used for", _list(_limits(card.name))),
        _section("On the held-out period", _metrics_table(judgement) + _note(card)),
        _section("Charts", f'<div class="charts">{"".join(_image(chart) for chart in charts)}</div>'),
        _section("Against simpler answers", _gains_table(judgement)),
        *(_section(*section) for section in _oracle(judgement)),
        _section("By group", _groups_tables(judgement)),
        _section("Gates", _gates_table(card.record)),
        _section("Features", _features(card)),
        _section("Drift", _drift(card)),
        _section("How it was made", _making(card.record)),
    ]
    title = escape(f"Model card: {card.name}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )


_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f5f7fa; color: #1f2933; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px; background: #fff; }
h1 { font-size: 24px; margin: 0 0 8px; } h2 { font-size: 18px; margin: 32px 0 8px; }
h3 { font-size: 15px; margin: 16px 0 4px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 8px; }
.charts img { width: 100%; max-width: 520px; height: auto; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid #e4e7eb; vertical-align: top; }
th, td { white-space: nowrap; }
.wide td:first-child { white-space: normal; min-width: 130px; } .wide .low { display: block; }
.low { color: #52606d; } .bad { color: #b42318; font-weight: 600; } .good { color: #2f6f3e; font-weight: 600; }
code { font-size: 13px; overflow-wrap: anywhere; }
"""


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>\n"


def _list(sentences: tuple[str, ...] | list[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _table(header: list[str], rows: list[list[str]], *, wide: bool = False) -> str:
    """Cells are HTML; a `wide` table has each interval below its value."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    kind = "table wide" if wide else "table"
    return f'<div class="{kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _image(spec: Spec) -> str:
    title = str(spec["title"])
    code = base64.b64encode(render_svg(spec).encode()).decode()
    return f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{code}">'


def _show(estimate: Estimate, sign: str = "", digits: int = 3) -> str:
    if estimate.value is None:
        return "–"
    form = f"{sign}.{digits}f"
    value = f"{estimate.value:{form}}"
    if estimate.low is None or estimate.high is None:
        return value
    return f'{value} <span class="low">[{estimate.low:{form}}, {estimate.high:{form}}]</span>'


def _show_metrics(metrics: dict[str, Estimate], keys: tuple[str, ...], sign: str = "") -> list[str]:
    return [_show(metrics[key], sign, DIGITS.get(key, 3)) for key in keys]


def _summarise(card: ModelCard) -> str:
    metrics = card.judgement.evaluation.metrics
    auc, lift = metrics["roc_auc"].value, metrics["lift_at_10_percent"].value
    estimator = FAMILY_NAMES[card.record.estimator.family]
    split, data = card.record.split, card.record.data
    sentences = [
        f"{estimator[0].upper()}{estimator[1:]}; of {data.rows:,} rows with {data.positives:,} purchases, those from "
        f"{split.test_from} to {split.test_to} were held out to judge it: {card.judgement.evaluation.n:,} rows, "
        f"{card.judgement.evaluation.positives:,} with a purchase, which it had not seen.",
    ]
    if auc is not None and lift is not None:
        sentences.append(
            f"Of a session with a purchase and one without, it gives the higher score to the right one in {auc:.1%} of "
            f"cases. The tenth of sessions with the highest scores holds {min(lift * 10, 100):.0f} % of the purchases."
        )
    sentences.append(f"It was chosen as {card.record.estimator.chosen_by}.")
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _purposes(name: str) -> list[str]:
    known = PURPOSES.get(name)
    return [known[0]] if known else ["It ranks rows of the given table by the chance of the label, for comparison."]


def _limits(name: str) -> list[str]:
    known = PURPOSES.get(name)
    return [*([known[1]] if known else []), *GENERAL_LIMITS]


def _metrics_table(judgement: Judgement) -> str:
    keys = tuple(SHOWN_METRICS)
    columns = (
        [escape(label) for label in SHOWN_METRICS.values()],
        _show_metrics(judgement.evaluation.metrics, keys),
        _show_metrics(judgement.uncorrected.metrics, keys),
    )
    rows = [list(row) for row in zip(*columns, strict=True)]
    return _table(["", "as scored", "without the base-rate correction"], rows)


def _note(card: ModelCard) -> str:
    note = card.record.metrics_note
    return f"<p class='low'>{escape(note[0].upper() + note[1:])}.</p>"


def _gains_table(judgement: Judgement) -> str:
    rows = []
    for name, gains in judgement.gains.items():
        label = RIVAL_NAMES[name]
        if name == BEST_FLAG and judgement.flag is not None:
            label += f" ({judgement.flag.description})"
        rows.append([escape(label), *_show_metrics(gains, GAIN_METRICS, "+")])
    header = ["the model minus …", *(SHOWN_METRICS[key] for key in GAIN_METRICS)]
    return _table(header, rows, wide=True) + "<p class='low'>For the Brier score, below 0 is better.</p>"


def _oracle(judgement: Judgement) -> list[tuple[str, str]]:
    if not judgement.oracle:
        return []
    rows = [
        [
            escape(point),
            f"{values['positives']:,} of {values['n']:,}",
            _show(Estimate(**values["oracle_roc_auc"])),
            _show(Estimate(**values["share"])),
        ]
        for point, values in judgement.oracle.items()
    ]
    table = _table(
        ["decision point", "purchases", "ROC-AUC of the true probability", "share of AUC − .5 reached"], rows
    )
    return [("How much of what is possible", table)]


def _groups_tables(judgement: Judgement) -> str:
    parts = []
    for group, members in judgement.by_group.items():
        rows = [
            [
                escape(name),
                f"{evaluation.n:,}",
                f"{evaluation.positives:,}",
                *_show_metrics(evaluation.metrics, GROUP_METRICS),
            ]
            for name, evaluation in members.items()
        ]
        title = group.replace("_", " ")
        header = [title, "rows", "purchases", *(SHOWN_METRICS[key] for key in GROUP_METRICS)]
        parts.append(f"<h3>{escape(title[0].upper() + title[1:])}</h3>{_table(header, rows, wide=True)}")
    return "".join(parts) or "<p>No groups were given.</p>"


def _gates_table(record: PropensityRecord) -> str:
    if record.candidacy is None:
        return "<p>This model was made for comparison; it can't become champion.</p>"
    rows = [
        [
            escape(gate["name"]),
            '<span class="good">passed</span>' if gate["passed"] else '<span class="bad">not passed</span>',
            escape(gate["seen"]),
        ]
        for gate in record.candidacy.gates
    ]
    return _table(["condition for becoming champion", "", "seen"], rows)


def _features(card: ModelCard) -> str:
    features = {feature.name: feature for feature in card.record.contract.features}
    rows = []
    for name in sorted(
        features, key=lambda name: -(card.importance[name].value or 0) if name in card.importance else 1
    ):
        inflation = card.variance_inflation.get(name)
        shown = "–" if inflation is None else "redundant" if np.isinf(inflation) else f"{inflation:.1f}"
        rows.append(
            [
                escape(name),
                escape(features[name].kind + (", late funnel" if features[name].late_funnel else "")),
                _show(card.importance[name], "+") if name in card.importance else "not used",
                f'<span class="bad">{shown}</span>' if (inflation or 0) > HIGH_INFLATION else shown,
            ]
        )
    note = (
        "<p class='low'>Importance: ROC-AUC lost on held-out rows when the feature is shuffled; features that say "
        "nearly the same stand in for each other and look less important than they are. Variance inflation (VIF): how "
        f"much the other numeric features already say; above {HIGH_INFLATION:.0f}, individual coefficients mean "
        "little.</p>"
    )
    return note + _table(["feature", "kind", "importance", "VIF"], rows)


def _drift(card: ModelCard) -> str:
    if isinstance(card.drift, str):
        return f"<p>Not measured: {escape(card.drift)}.</p>"
    rate = card.drift.rate
    drifted = [drift.feature for drift in card.drift.features if drift.has_drifted]
    sentences = [
        "Features whose held-out period differs from the time before, by more than chance and by enough to matter: "
        f"{', '.join(drifted) or 'none'}.",
        f"The purchase rate was {rate.reference_rate:.2%} before and is {rate.current_rate:.2%} in the held-out period "
        f"(z {rate.z:+.1f}, the spread between days taken into account): "
        f"{'it has drifted' if rate.has_drifted else 'no drift'}.",
    ]
    rows = [
        [
            escape(drift.feature),
            f"{drift.psi:.3f}",
            f"{drift.null_99:.3f}",
            '<span class="bad">drifted</span>' if drift.has_drifted else "as before",
        ]
        for drift in card.drift.features
    ]
    note = (
        "<p class='low'>PSI: population stability index of the held-out against the training period. A feature has "
        f"drifted if it lies above {MIN_PSI:g} and above the {NULL_QUANTILE * 100:.0f}th percentile of as many days "
        "drawn from the "
        "training days themselves. Later days are compared in the same way by <code>python -m ml drift</code>.</p>"
    )
    table = _table(["feature", "PSI", "99th percentile by chance", ""], rows)
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences) + note + table


def _making(record: PropensityRecord) -> str:
    split, data, estimator, contract = record.split, record.data, record.estimator, record.contract
    facts = {
        "data": f"{data.relation}, {data.rows:,} rows, {data.users:,} users, {data.first_date} to {data.last_date}",
        "trained and calibrated on": f"{split.train_from} up to {split.test_from}, without it",
        "rolling origins": "; ".join(f"{fold.valid_from} to {fold.valid_to}" for fold in split.rolling_origins),
        "estimator": f"{estimator.family} {estimator.params}",
        "code": record.code_version,
        "libraries": ", ".join(f"{name} {version}" for name, version in record.libraries.items()),
        "feature contract": f"{contract.name} version {contract.version}, {contract.sha256[:16]}",
    }
    rows = [[escape(name), f"<code>{escape(str(value))}</code>"] for name, value in facts.items()]
    best: dict[str, dict[str, Any]] = {}
    for tried in record.search:
        if tried["family"] not in best or tried["log_loss"] < best[tried["family"]]["log_loss"]:
            best[tried["family"]] = tried
    search = _table(
        ["family", "log-loss on the rolling origins, best parameters"],
        [[escape(FAMILY_NAMES[family]), f"{tried['log_loss']:.5f}"] for family, tried in best.items()],
    )
    return _table(["", ""], rows) + "<h3>Candidates</h3>" + search
