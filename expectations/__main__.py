"""Command line: `python -m expectations landing|marts|scores [--run-id X]`."""

from __future__ import annotations

import argparse
import datetime as dt
import sys

from expectations.job import ValidationFailedError, ValidationReport, validate
from foundation.command import run_command
from foundation.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Validate one suite and print what was not met; the exit code is 0 when the gate is open, 1 when it is shut."""
    return run_command(_make_parser(), arguments)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m expectations", description=__doc__)
    parser.add_argument("suite", choices=("landing", "marts", "scores"))
    parser.add_argument("--run-id", help="id under which the results are kept (default: manual__<now>)")
    parser.set_defaults(run=_validate)
    return parser


def _validate(options: argparse.Namespace, settings: Settings) -> int:
    run_id = options.run_id or f"manual__{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}"
    try:
        report = validate(settings, options.suite, run_id=run_id)
    except ValidationFailedError as error:
        print_report(error.report)
        return error.exit_code
    print_report(report)
    return 0


def print_report(report: ValidationReport) -> None:
    """Print the report as a compact table."""
    print(report.headline)
    for note in report.notes:
        print(f"  {note}")
    if report.results:
        width = max(len(miss.name) for miss in report.results)
        for miss in report.results:
            print(f"  {'FAIL' if miss.stops else 'warn'}  {miss.name:<{width}}  {miss.observed}")
    for miss in report.results:
        if miss.stops:
            print(f"\n{miss.message}")
    print(f"Data docs: {report.data_docs}")


if __name__ == "__main__":
    sys.exit(main())
