"""What the jobs have found, in words: the lines that the command line prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ml.core.card import RIVAL_NAMES
from ml.core.evaluation import BEST_FLAG
from ml.core.metrics import show_estimate
from ml.core.record import PropensityRecord, SegmentationRecord
from ml.io.registry import ModelRegistry, RefusedVersion
from ml.jobs.drift import ModelDrift
from ml.jobs.evaluate import TableReport
from ml.jobs.report import ModelReport

SHOWN_METRICS = {
    "roc_auc": "AUC",
    "average_precision": "AP",
    "brier": "Brier",
    "brier_baseline": "Brier of the base rate",
    "lift_at_10_percent": "lift at 10 %",
    "lift_at_20_percent": "lift at 20 %",
    "calibration_error": "calibration error",
    "calibration_slope": "calibration slope",
    "base_rate": "base rate",
}
GAIN_METRICS = ("roc_auc", "average_precision", "lift_at_10_percent", "lift_at_20_percent")


def describe_training(model: ModelReport) -> list[str]:
    """What became of one model."""
    if model.status == "not_trained":
        return [f"{model.name}: not trained: {model.why}"]
    lines = [f"{model.name} {model.version} ({model.estimator}): {model.why}"]
    lines += _describe_metrics(model.metrics)
    lines += [f"  {point}: {_join_metrics(metrics)}" for point, metrics in model.metrics_by_point.items()]
    lines += _describe_gains(model.gains, model.best_flag)
    lines += _describe_oracle(model.oracle)
    lines += [f"  model card: {model.card}"] if model.card else []
    return lines + _describe_segments(model.segments)


def _describe_gains(gains: dict[str, Any], best_flag: str | None) -> list[str]:
    lines = []
    for name, gain in gains.items():
        rival = f"{RIVAL_NAMES[name]} ({best_flag})" if name == BEST_FLAG else RIVAL_NAMES[name]
        shown = [f"{SHOWN_METRICS[key]} {show_estimate(gain[key], '+')}" for key in GAIN_METRICS]
        lines.append(f"  minus {rival}: {', '.join(shown)}")
    return lines


def _describe_oracle(oracle: dict[str, Any]) -> list[str]:
    return [
        f"  {point}: {values['share']['value']:.0%} [{values['share']['low']:.0%}, {values['share']['high']:.0%}] of "
        f"the discrimination of the true probabilities (AUC {values['oracle_roc_auc']['value']:.3f})"
        for point, values in oracle.items()
    ]


def describe_table(report: TableReport) -> list[str]:
    """What came out of judging a table of one's own."""
    if report.record is None:
        return [*report.notes, f"not trained: {report.why_not}"]
    lines = [
        *report.notes,
        f"{report.estimator}: {report.why}",
        f"  as scored: {_join_metrics(report.metrics)}",
        f"  without the base-rate correction: {_join_metrics(report.metrics_uncorrected)}",
    ]
    lines += _describe_gains(report.record.gains, report.record.best_flag)
    return lines + ([f"  model card: {report.card}"] if report.card else [])


def describe_drift(model: ModelDrift) -> list[str]:
    """How far the new days of one champion differ."""
    if model.why_not is not None:
        return [f"{model.name} {model.version}: not measured: {model.why_not}"]
    lines = [f"{model.name} {model.version}: {model.current_from} to {model.current_to} against its training days"]
    lines += [f"  {reason}" for reason in model.reasons] or ["  nothing has drifted"]
    if model.rate is not None:
        lines.append(
            f"  base rate {model.rate.current_rate:.2%}, was {model.rate.reference_rate:.2%} (z {model.rate.z:+.1f})"
        )
    if model.calibration is not None:
        found = model.calibration
        lines.append(
            f"  observed over predicted {found.ratio:.2f} [{found.ratio_low:.2f}, {found.ratio_high:.2f}], "
            f"slope {found.slope:.2f} [{found.slope_low:.2f}, {found.slope_high:.2f}], n {found.n:,}"
        )
    lines += [
        f"  PSI {drift.psi:.3f}  limit {drift.limit:.3f}  {drift.feature}{'  drifted' if drift.has_drifted else ''}"
        for drift in model.features
    ]
    return lines


def compare_versions(registry: ModelRegistry, name: str, versions: list[str]) -> list[str]:
    """Where two versions of a model differ; raises `ModelRefusedError` where one of them cannot be read."""
    first, second = (registry.read_manifest(name, version).record for version in versions)
    lines = [f"{name}: {versions[0]} → {versions[1]}"]
    lines += _list_changes("estimator", asdict(first.estimator), asdict(second.estimator))
    if not isinstance(first, PropensityRecord) or not isinstance(second, PropensityRecord):
        return lines
    lines += _list_changes("split", first.split.to_dict(), second.split.to_dict())
    for key, label in SHOWN_METRICS.items():
        pair = [record.metrics[key] for record in (first, second)]
        if all(metric["value"] is not None for metric in pair):
            lines.append(f"  {label}: {' → '.join(show_estimate(metric) for metric in pair)}")
    if first.split.test_from != second.split.test_from:
        lines.append("  each on its own held-out days: intervals that overlap show no difference")
    return lines


def _list_changes(key: str, first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    before, after = _flatten(first), _flatten(second)
    return [
        f"  {key} {part}: {before.get(part, '–')} → {after.get(part, '–')}"
        for part in sorted({*before, *after})
        if before.get(part) != after.get(part)
    ]


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            flat[f"{prefix}{key}"] = str(value)
    return flat


def describe_versions(registry: ModelRegistry, refused: Mapping[str, str]) -> list[str]:
    """Every version with its metrics, the gates that it did not pass, or its segments; then what cannot be used.

    `refused` maps models to the reason why the published scores do not come from their champion.
    """
    lines, unreadable = [], []
    for version in registry.list_all():
        if isinstance(version, RefusedVersion):
            mark = "champion" if version.is_champion else "-"
            unreadable.append(f"{version.name}  {version.version}  {mark}  unreadable: {version.problem}")
            continue
        record = version.manifest.record
        mark = "champion" if version.is_champion else "-"
        lines.append(f"{version.name}  {version.version}  {mark}  {record.estimator.family}")
        if isinstance(record, PropensityRecord):
            lines += _describe_metrics(record.metrics)
            gates = record.candidacy.gates if record.candidacy is not None else []
            lines += [f"  not passed: {gate['name']}: {gate['seen']}" for gate in gates if not gate["passed"]]
        if isinstance(record, SegmentationRecord):
            lines += _describe_segments([segment.to_dict() for segment in record.found.segments])
        card = registry.card_path(version.name, version.version)
        lines += [f"  model card: {card}"] if card.exists() else []
    if not lines and not unreadable:
        return ["no models yet: train with `python -m ml train`"]
    lines += unreadable
    lines += [f"{name}: NOT USED by the last scoring, its scores are empty: {why}" for name, why in refused.items()]
    return lines


def _describe_metrics(metrics: dict[str, Any]) -> list[str]:
    return [f"  held-out days: {_join_metrics(metrics)}"] if metrics else []


def _join_metrics(metrics: dict[str, Any]) -> str:
    parts = [f"n {metrics['n']:,}", f"purchases {metrics['positives']:,}"]
    for key, label in SHOWN_METRICS.items():
        if metrics[key]["value"] is not None:
            parts.append(f"{label} {show_estimate(metrics[key])}")
    return ", ".join(parts)


def _describe_segments(segments: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {segment['segment_id']} {segment['name']}: {segment['size']:,} sessions ({segment['share']:.1%}), "
        f"conversion {segment['conversion']:.2%} [{segment['conversion_low']:.2%}, {segment['conversion_high']:.2%}]"
        for segment in segments
    ]
