"""Command line: `python -m ml train | score | models | retire NAME | drift | evaluate TABLE`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from foundation.command import run_command
from foundation.settings import Settings
from ml.core.card import RIVAL_NAMES
from ml.core.evaluation import BEST_FLAG
from ml.io.registry import ModelRegistry
from ml.jobs.drift import ModelDrift, measure_drift
from ml.jobs.evaluate import TableOptions, TableReport, evaluate_table
from ml.jobs.report import MODEL_NAMES, ModelReport
from ml.jobs.score import score_sessions
from ml.jobs.train import train_models

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


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 with a message on standard error where it was refused."""
    return run_command(_make_parser(), arguments)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml", description="Purchase propensity and behavioural segments.")
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="train on the published warehouse")
    train.add_argument("--truth", type=Path, help="Parquet file of true probabilities, to report against")
    train.set_defaults(run=_train)
    score = commands.add_parser("score", help="score the sessions of the build file with the champions")
    score.set_defaults(run=_score)
    drift = commands.add_parser("drift", help="compare the days after the champions' training with their training days")
    drift.set_defaults(run=_drift)
    models = commands.add_parser("models", help="list the versions; compare, promote or roll back")
    models.set_defaults(run=_list)
    actions = models.add_subparsers()
    compare = actions.add_parser("compare", help="two versions of a model side by side")
    promote = actions.add_parser("promote", help="make a version the champion by hand")
    roll_back = actions.add_parser("rollback", help="make the previous champion the champion again")
    retire = commands.add_parser("retire", help="leave a model without a champion; its scores become empty")
    for action, run in ((compare, _compare), (promote, _promote), (roll_back, _roll_back), (retire, _retire)):
        action.add_argument("name", choices=MODEL_NAMES)
        action.set_defaults(run=run)
    compare.add_argument("versions", nargs=2, metavar="VERSION")
    promote.add_argument("version", metavar="VERSION")
    _add_evaluate(commands.add_parser("evaluate", help="train and judge on a CSV or Parquet file of your own"))
    return parser


def _add_evaluate(table: argparse.ArgumentParser) -> None:
    table.add_argument("table", type=Path, metavar="TABLE")
    table.add_argument("--label", required=True, help="column of true and false, or 0 and 1")
    table.add_argument("--time", required=True, help="date, timestamp, number or name of the period")
    table.add_argument("--features", type=_split_names, help="columns to use, separated by commas; default: the others")
    table.add_argument("--exclude", type=_split_names, default=[], help="columns to leave out, separated by commas")
    table.add_argument("--categorical", type=_split_names, default=[], help="numeric columns that are codes")
    table.add_argument("--user", help="column that tells whose row it is; default: each row is somebody else's")
    table.add_argument("--order", type=_split_names, help="periods from old to new; names of months need none")
    table.add_argument("--test-from", help="first period that is held out; default: the last fifth")
    table.add_argument("--budget", type=float, default=60.0, help="CPU seconds, by estimate, for the search")
    table.add_argument("--out", type=Path, help="folder for model_card.html and evaluation.json")
    table.set_defaults(run=_evaluate)


def _split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(lines: list[str]) -> int:
    print("\n".join(lines))
    return 0


def _train(options: argparse.Namespace, settings: Settings) -> int:
    report = train_models(settings, truth=options.truth)
    return _say([line for model in report.models for line in _describe_report(model)])


def _score(options: argparse.Namespace, settings: Settings) -> int:
    return _say([score_sessions(settings).message])


def _drift(options: argparse.Namespace, settings: Settings) -> int:
    return _say([line for model in measure_drift(settings).models for line in _describe_drift(model)])


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    chosen = TableOptions(**{each.name: getattr(options, each.name) for each in fields(TableOptions)})
    return _say(_describe_table(evaluate_table(options.table, chosen)))


def _list(options: argparse.Namespace, settings: Settings) -> int:
    return _say(_describe_versions(settings))


def _compare(options: argparse.Namespace, settings: Settings) -> int:
    return _say(_compare_versions(ModelRegistry(settings.models_dir), options.name, options.versions))


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    registry = ModelRegistry(settings.models_dir)
    registry.load(options.name, options.version)
    earlier = registry.champion_version(options.name)
    registry.promote(options.name, options.version, reason="promoted by hand")
    before = earlier or "none"
    return _say([f"{options.name}: {options.version} is champion, before it {before}; the next run scores"])


def _roll_back(options: argparse.Namespace, settings: Settings) -> int:
    old, new = ModelRegistry(settings.models_dir).roll_back(options.name)
    return _say([f"{options.name}: {new} is champion again in the place of {old}; the next run scores"])


def _retire(options: argparse.Namespace, settings: Settings) -> int:
    version = ModelRegistry(settings.models_dir).retire(options.name)
    said = f"{options.name}: {version} is no longer champion" if version else f"{options.name} has no champion"
    return _say([said])


def _describe_report(model: ModelReport) -> list[str]:
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
        shown = [f"{SHOWN_METRICS[key]} {_show_metric(gain[key], '+')}" for key in GAIN_METRICS]
        lines.append(f"  minus {rival}: {', '.join(shown)}")
    return lines


def _describe_oracle(oracle: dict[str, Any]) -> list[str]:
    return [
        f"  {point}: {values['share']['value']:.0%} [{values['share']['low']:.0%}, {values['share']['high']:.0%}] of "
        f"the discrimination of the true probabilities (AUC {values['oracle_roc_auc']['value']:.3f})"
        for point, values in oracle.items()
    ]


def _describe_table(report: TableReport) -> list[str]:
    if report.why_not is not None:
        return [*report.notes, f"not trained: {report.why_not}"]
    lines = [
        *report.notes,
        f"{report.estimator}: {report.why}",
        f"  as scored: {_join_metrics(report.metrics)}",
        f"  without the base-rate correction: {_join_metrics(report.metrics_uncorrected)}",
    ]
    lines += _describe_gains(report.manifest["gains"], report.manifest["best_flag"])
    return lines + ([f"  model card: {report.card}"] if report.card else [])


def _describe_drift(model: ModelDrift) -> list[str]:
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


def _compare_versions(registry: ModelRegistry, name: str, versions: list[str]) -> list[str]:
    first, second = (registry.read_manifest(name, version) for version in versions)
    lines = [f"{name}: {versions[0]} → {versions[1]}"]
    for key in ("estimator", "split"):
        before, after = (_flatten(manifest.get(key, {})) for manifest in (first, second))
        lines += [
            f"  {key} {part}: {before.get(part, '–')} → {after.get(part, '–')}"
            for part in sorted({*before, *after})
            if before.get(part) != after.get(part)
        ]
    for key, label in SHOWN_METRICS.items():
        pair = [manifest.get("metrics", {}).get(key, {}) for manifest in (first, second)]
        if all(metric.get("value") is not None for metric in pair):
            lines.append(f"  {label}: {' → '.join(_show_metric(metric) for metric in pair)}")
    held_out = [manifest.get("split", {}).get("test_from") for manifest in (first, second)]
    if held_out[0] != held_out[1]:
        lines.append("  each on its own held-out days: intervals that overlap show no difference")
    return lines


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, list):
            flat[f"{prefix}{key}"] = str(value)
    return flat


def _describe_versions(settings: Settings) -> list[str]:
    registry = ModelRegistry(settings.models_dir)
    versions = registry.list_versions()
    if not versions:
        return ["no models yet: train with `python -m ml train`"]
    lines = []
    for version in versions:
        mark = "champion" if version.is_champion else "-"
        estimator = version.manifest.get("estimator", {}).get("family")
        lines.append(f"{version.name}  {version.version}  {mark}  {estimator}")
        lines += _describe_metrics(version.manifest.get("metrics", {}))
        lines += [
            f"  not passed: {gate['name']}: {gate['seen']}"
            for gate in version.manifest.get("gates", [])
            if not gate["passed"]
        ]
        lines += _describe_segments(version.manifest.get("segments", []))
        card = registry.card_path(version.name, version.version)
        lines += [f"  model card: {card}"] if card.exists() else []
    return lines


def _describe_metrics(metrics: dict[str, Any]) -> list[str]:
    return [f"  held-out days: {_join_metrics(metrics)}"] if metrics else []


def _join_metrics(metrics: dict[str, Any]) -> str:
    parts = [f"n {metrics['n']:,}", f"purchases {metrics['positives']:,}"]
    for key, label in SHOWN_METRICS.items():
        if metrics[key]["value"] is not None:
            parts.append(f"{label} {_show_metric(metrics[key])}")
    return ", ".join(parts)


def _show_metric(estimate: dict[str, Any], sign: str = "") -> str:
    if estimate["value"] is None:
        return "–"
    interval = "" if estimate["low"] is None else f" [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"
    return f"{estimate['value']:{sign}.3f}{interval}"


def _describe_segments(segments: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {segment['segment_id']} {segment['name']}: {segment['size']:,} sessions ({segment['share']:.1%}), "
        f"conversion {segment['conversion']:.2%} [{segment['conversion_low']:.2%}, {segment['conversion_high']:.2%}]"
        for segment in segments
    ]


if __name__ == "__main__":
    sys.exit(main())
