"""`python -m warehouse parse`: let dbt parse the project for this home, so that the first build need not."""

from __future__ import annotations

import argparse
import logging
import sys

from foundation.command import run_command
from foundation.settings import Settings
from warehouse.build import parse_project


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m warehouse", description=__doc__)
    parse = parser.add_subparsers(required=True).add_parser("parse", help="parse dbt's project for this home")
    parse.set_defaults(run=_parse)
    return run_command(parser, arguments, log_level=logging.WARNING)


def _parse(_: argparse.Namespace, settings: Settings) -> int:
    parse_project(settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
