"""`python -m warehouse parse`: let dbt parse the project for this home, so that the first build need not.

`… ga4-schema`: write the JSON Schema of `ga4.yml` into docs/.
"""

from __future__ import annotations

import argparse
import logging
import sys

from foundation.command import run_command
from foundation.settings import PROJECT_DIR, Settings
from warehouse.build import parse_project
from warehouse.ga4_config import render_json_schema

SCHEMA_PAGE = PROJECT_DIR / "docs" / "ga4.schema.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m warehouse", description=__doc__)
    commands = parser.add_subparsers(required=True)
    parse = commands.add_parser("parse", help="parse dbt's project for this home")
    parse.set_defaults(run=_parse)
    schema = commands.add_parser("ga4-schema", help="write the JSON Schema of ga4.yml into docs/")
    schema.set_defaults(run=_write_schema)
    return run_command(parser, arguments, log_level=logging.WARNING)


def _parse(_: argparse.Namespace, settings: Settings) -> int:
    parse_project(settings)
    return 0


def _write_schema(_: argparse.Namespace, __: Settings) -> int:
    SCHEMA_PAGE.write_text(render_json_schema(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
