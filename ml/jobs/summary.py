"""The champions and the segments, for the summary of a run."""

from __future__ import annotations

import duckdb

from foundation.plain_tables import align, show_percent
from foundation.settings import Settings
from ml.core.errors import ModelRefusedError
from ml.core.metrics import show_estimate
from ml.core.record import PropensityRecord
from ml.io.registry import ModelRegistry
from ml.jobs.report import FULL, PRECHECKOUT
from warehouse.transaction import read_refused_models, read_used_models

SHOWN_METRICS = {
    "roc_auc": "AUC",
    "average_precision": "AP",
    "lift_at_10_percent": "lift at 10 %",
    "brier": "Brier",
}


def summarise_models(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    """What the published scores come from and how good it is, or why a model has none."""
    registry = ModelRegistry(settings.models_dir)
    used, refused = read_used_models(connection), read_refused_models(connection)
    names = [FULL, PRECHECKOUT, *sorted(refused.keys() - {FULL, PRECHECKOUT})]
    return [
        "MODELS (held-out last days; 95 % intervals)",
        *(f"  {_describe_scoring(registry, name, used.get(name), refused.get(name))}" for name in names),
    ]


def _describe_scoring(registry: ModelRegistry, name: str, version: str | None, refused: str | None) -> str:
    if refused is not None:
        return f"{name}: NOT USED, its scores are empty: {refused}"
    champion = registry.champion_version(name)
    if version is None:
        return (
            f"{name}: no champion: {_explain_absence(registry, name)}"
            if champion is None
            else f"{name}: {_announce(champion)}"
        )
    coming = "" if champion in (None, version) else f"; {_announce(str(champion))}"
    try:
        record = registry.read_manifest(name, version).record
    except ModelRefusedError as error:
        return f"{name} {version}: {error}{coming}"
    metrics = record.metrics if isinstance(record, PropensityRecord) else {}
    shown = [f"{label} {show_estimate(metrics[key])}" for key, label in SHOWN_METRICS.items() if key in metrics]
    return f"{name} {version}: {', '.join(shown)}{coming}"


def _announce(version: str) -> str:
    return f"{version} is champion and will score with the next run"


def _explain_absence(registry: ModelRegistry, name: str) -> str:
    report = registry.read_last_report()
    models = [] if report is None else report["models"]
    return next((str(model["why"]) for model in models if model["name"] == name), "not trained yet")


def summarise_segments(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Size and conversion of each segment, over all scored sessions."""
    rows = connection.execute(
        """
        select
            scores.segment_name, count(*), count(*) / sum(count(*)) over (),
            avg(cast(sessions.has_purchase as integer))
        from marts.fct_session_scores as scores
        inner join marts.fct_sessions as sessions using (session_id)
        where scores.segment_name is not null
        group by scores.segment_name order by 2 desc
        """
    ).fetchall()
    if not rows:
        return ["SEGMENTS", "  none yet"]
    table = [("segment", "sessions", "share", "conversion")]
    table += [
        (str(name), f"{n:,}", show_percent(share), show_percent(conversion)) for name, n, share, conversion in rows
    ]
    return ["SEGMENTS", *align(table)]
