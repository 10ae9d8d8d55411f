"""Command line: `python -m ml train | score | models | retire NAME`."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from ml.core.contract import ContractError
from ml.io.registry import ModelRefusedError, ModelRegistry
from ml.jobs.report import MODEL_NAMES, ModelReport
from ml.jobs.score import score_sessions
from ml.jobs.train import train_models
from warehouse.connect import NothingPublishedError
from warehouse.settings import Settings, load_settings

SHOWN_METRICS = {
    "roc_auc": "AUC",
    "average_precision": "AP",
    "brier": "Brier",
    "brier_baseline": "Brier of the base rate",
    "lift_at_10_percent": "lift at 10 %",
    "calibration_error": "calibration error",
    "base_rate": "base rate",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code, 1 with a message on standard error where it was refused."""
    parser = argparse.ArgumentParser(prog="python -m ml", description="Purchase propensity and behavioural segments.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("train", help="train on the published warehouse")
    commands.add_parser("score", help="score the sessions of the build file with the champions")
    commands.add_parser("models", help="list the versions, the champions and their metrics")
    retire = commands.add_parser("retire", help="leave a model without a champion; its scores become empty")
    retire.add_argument("name", choices=MODEL_NAMES)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settings = load_settings()
    try:
        if options.command == "train":
            report = train_models(settings)
            print("\n".join(line for model in report.models for line in _describe_report(model)))
        elif options.command == "score":
            print(score_sessions(settings).message)
        elif options.command == "models":
            print("\n".join(_describe_versions(settings)))
        else:
            version = ModelRegistry(settings.models_dir).retire(options.name)
            print(f"{options.name}: {version} is no longer champion" if version else f"{options.name} has no champion")
    except (ContractError, ModelRefusedError, NothingPublishedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _describe_report(model: ModelReport) -> list[str]:
    if model.status == "not_trained":
        return [f"{model.name}: not trained: {model.why}"]
    lines = [f"{model.name} {model.version} ({model.estimator}): {model.why}"]
    lines += _describe_metrics(model.metrics)
    lines += [f"  {point}: {_join_metrics(metrics)}" for point, metrics in model.metrics_by_point.items()]
    return lines + _describe_segments(model.segments)


def _describe_versions(settings: Settings) -> list[str]:
    versions = ModelRegistry(settings.models_dir).list_versions()
    if not versions:
        return ["no models yet: train with `python -m ml train`"]
    lines = []
    for version in versions:
        mark = "champion" if version.is_champion else "-"
        estimator = version.manifest.get("estimator", {}).get("family")
        lines.append(f"{version.name}  {version.version}  {mark}  {estimator}")
        lines += _describe_metrics(version.manifest.get("metrics", {}))
        lines += _describe_segments(version.manifest.get("segments", []))
    return lines


def _describe_metrics(metrics: dict[str, Any]) -> list[str]:
    return [f"  held-out days: {_join_metrics(metrics)}"] if metrics else []


def _join_metrics(metrics: dict[str, Any]) -> str:
    parts = [f"n {metrics['n']:,}", f"purchases {metrics['positives']:,}"]
    for key, label in SHOWN_METRICS.items():
        estimate = metrics[key]
        if estimate["value"] is not None:
            low, high = estimate["low"], estimate["high"]
            interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            parts.append(f"{label} {estimate['value']:.3f}{interval}")
    return ", ".join(parts)


def _describe_segments(segments: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {segment['segment_id']} {segment['name']}: {segment['size']:,} sessions ({segment['share']:.1%}), "
        f"conversion {segment['conversion']:.2%} [{segment['conversion_low']:.2%}, {segment['conversion_high']:.2%}]"
        for segment in segments
    ]


if __name__ == "__main__":
    sys.exit(main())
