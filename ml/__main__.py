"""Command line: `python -m ml train | score | models | retire NAME | drift | evaluate TABLE`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from foundation.command import run_command
from foundation.connect import open_published
from foundation.settings import Settings
from ml.io.registry import ModelRegistry
from ml.jobs.drift import measure_drift
from ml.jobs.evaluate import TableOptions, evaluate_table
from ml.jobs.report import MODEL_NAMES
from ml.jobs.score import score_sessions
from ml.jobs.train import train_models
from ml.jobs.wording import compare_versions, describe_drift, describe_table, describe_training, describe_versions
from warehouse.transaction import read_refused_models


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
    roll_back = actions.add_parser("rollback", help="restore the previous champion")
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
    table.add_argument("--features", type=_split_names, help="columns to use, comma-separated; default: all others")
    table.add_argument("--exclude", type=_split_names, default=[], help="columns to leave out, comma-separated")
    table.add_argument("--categorical", type=_split_names, default=[], help="numeric columns that are codes")
    table.add_argument("--user", help="column that says whose row it is; default: every row is a different user's")
    table.add_argument("--order", type=_split_names, help="periods from oldest to newest; not needed for month names")
    table.add_argument("--test-from", help="first period that is held out; default: the last fifth")
    table.add_argument("--budget", type=float, default=60.0, help="estimated CPU seconds for the search")
    table.add_argument("--out", type=Path, help="folder for model_card.html and evaluation.json")
    table.set_defaults(run=_evaluate)


def _split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(lines: list[str]) -> int:
    print("\n".join(lines))
    return 0


def _train(options: argparse.Namespace, settings: Settings) -> int:
    report = train_models(settings, truth=options.truth)
    return _say([line for model in report.models for line in describe_training(model)])


def _score(options: argparse.Namespace, settings: Settings) -> int:
    return _say([score_sessions(settings).message])


def _drift(options: argparse.Namespace, settings: Settings) -> int:
    return _say([line for model in measure_drift(settings).models for line in describe_drift(model)])


def _evaluate(options: argparse.Namespace, settings: Settings) -> int:
    chosen = TableOptions(**{each.name: getattr(options, each.name) for each in fields(TableOptions)})
    return _say(describe_table(evaluate_table(options.table, chosen)))


def _list(options: argparse.Namespace, settings: Settings) -> int:
    refused = {}
    if settings.published_path.exists():
        with open_published(settings) as connection:
            refused = read_refused_models(connection)
    return _say(describe_versions(ModelRegistry(settings.models_dir), refused))


def _compare(options: argparse.Namespace, settings: Settings) -> int:
    return _say(compare_versions(ModelRegistry(settings.models_dir), options.name, options.versions))


def _promote(options: argparse.Namespace, settings: Settings) -> int:
    registry = ModelRegistry(settings.models_dir)
    registry.load(options.name, options.version)
    earlier = registry.champion_version(options.name)
    registry.promote(options.name, options.version, reason="promoted by hand")
    before = earlier or "none"
    return _say([f"{options.name}: {options.version} is champion, previously {before}; the next run scores"])


def _roll_back(options: argparse.Namespace, settings: Settings) -> int:
    old, new = ModelRegistry(settings.models_dir).roll_back(options.name)
    return _say([f"{options.name}: {new} is champion again in place of {old}; the next run scores"])


def _retire(options: argparse.Namespace, settings: Settings) -> int:
    version = ModelRegistry(settings.models_dir).retire(options.name)
    said = f"{options.name}: {version} is no longer champion" if version else f"{options.name} has no champion"
    return _say([said])


if __name__ == "__main__":
    sys.exit(main())
