"""`python -m ingest [--dry-run]`: bring the lake up to date with the export.

`… parameters`: what parameters and user properties there are, for `ga4.yml`; `… forget USER`: remove a person.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from foundation.command import run_command, whole_number
from foundation.settings import Settings
from ingest.forget import ForgetError, Person, find_person, forget_person
from ingest.job import load_changed_days, plan_load
from ingest.parameters import describe_parameters, list_parameters, write_proposal

_SHOWN_IDS = 10


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code (0 also when files were quarantined: the other days are loaded)."""
    return run_command(_make_parser(), arguments)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ingest", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="show what would be loaded, and change nothing")
    parser.set_defaults(run=_load)
    commands = parser.add_subparsers()
    parameters = commands.add_parser("parameters", help="list the parameters and user properties that the lake holds")
    parameters.add_argument("--days", type=whole_number(1), default=28, help="of the newest days of the lake (28)")
    parameters.add_argument("--write", type=Path, metavar="FILE", help="write a proposal for ga4.yml to this file")
    parameters.set_defaults(run=_list_parameters)
    forget = commands.add_parser("forget", help="remove a person from the lake and keep them out for good")
    forget.add_argument("user", help="a user_id or a user_pseudo_id")
    forget.add_argument("--yes", action="store_true", help="do not ask")
    forget.set_defaults(run=_forget)
    return parser


def _load(options: argparse.Namespace, settings: Settings) -> int:
    if options.dry_run:
        _print_plan(settings)
    else:
        print(load_changed_days(settings).to_text())
    return 0


def _list_parameters(options: argparse.Namespace, settings: Settings) -> int:
    found = list_parameters(settings, options.days)
    print(describe_parameters(found))
    if options.write:
        write_proposal(found, options.write, settings)
        print(f"proposal for what is new: {options.write}")
    return 0


def _print_plan(settings: Settings) -> None:
    plan = plan_load(settings)
    for table in plan:
        if table.what != "unchanged":
            size = f", {table.size_bytes:,} bytes" if table.size_bytes else ""
            print(f"{table.event_date} {table.table_name}: {table.what}{size}")
    counts = Counter(table.what for table in plan)
    size = f"{sum(table.size_bytes for table in plan):,} bytes would be read"
    print("; ".join([*(f"{number} {what}" for what, number in sorted(counts.items())), size]))


def _forget(options: argparse.Namespace, settings: Settings) -> int:
    user = options.user
    print(_describe(find_person(settings, user)))
    if not options.yes:
        if not sys.stdin.isatty():
            raise ForgetError("there is nobody to ask; add --yes to forget them")
        answer = input("Remove these rows, and keep these ids out for good? This cannot be undone. [y/N] ")
        if answer.strip().lower() not in {"y", "yes"}:
            print("nothing was changed")
            return 1
    person = forget_person(settings, user)
    if not person.is_known:
        print(
            f"no row in the lake carries {user!r}, so nothing was removed; check that it is spelled as in the export. "
            "It is kept out from now on, in case a day not yet loaded contains it."
        )
        return 0
    print(
        f"{sum(person.rows.values()):,} rows removed from the lake and kept out from now on. The published warehouse "
        "still has them until the next run publishes: `make run`. Delete the person in GA4 and in the export as well."
    )
    return 0


def _describe(person: Person) -> str:
    days = list(person.rows)
    rows = f"{sum(person.rows.values()):,} rows on {len(days)} days" + (f" ({days[0]} to {days[-1]})" if days else "")
    return "\n".join(
        [
            f"login ids (user_id): {_list(person.user_ids)}",
            f"devices (user_pseudo_id): {_list(person.devices)}",
            f"in the lake: {rows}",
        ]
    )


def _list(ids: list[str]) -> str:
    more = f", … ({len(ids):,} in all)" if len(ids) > _SHOWN_IDS else ""
    return (", ".join(ids[:_SHOWN_IDS]) + more) or "none"


if __name__ == "__main__":
    sys.exit(main())
