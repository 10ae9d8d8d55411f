"""`python -m alerts check|list|deliver|rules`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import logging
import sys
from pathlib import Path

from alerts import incidents
from alerts.delivery import deliver_outbox
from alerts.job import check_and_send
from alerts.message import say_value
from alerts.rules import RulesError, load_rules
from alerts.slack import AlertDeliveryError
from warehouse.connect import NothingPublishedError
from warehouse.settings import Settings, load_settings
from warehouse.state import open_state


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 fine, 1 not delivered or nothing published, 2 bad rules."""
    parser = argparse.ArgumentParser(prog="python -m alerts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check the complete days now and deliver the messages")
    check.add_argument("--run-id", default=None, help="written into the messages; default: manual and the time")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    commands.add_parser("list", help="show all incidents")
    commands.add_parser("deliver", help="deliver what waits in the outbox")
    rules = commands.add_parser("rules", help="validate the rules and show them")
    rules.add_argument("path", nargs="?", type=Path, default=None, help="default: FUNNELHOUSE_ALERT_RULES")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = load_settings()
    try:
        if options.command == "check":
            _check(settings, options.run_id, as_json=options.json)
        elif options.command == "list":
            _list(settings)
        elif options.command == "deliver":
            delivery = deliver_outbox(settings)
            print(f"{delivery.sent} sent, {delivery.rendered} rendered, {delivery.pending} pending")
        else:
            _show_rules(options.path or settings.alert_rules)
    except RulesError as error:
        print(error, file=sys.stderr)
        return 2
    except (AlertDeliveryError, NothingPublishedError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _check(settings: Settings, run_id: str | None, *, as_json: bool) -> None:
    report = check_and_send(settings, run_id=run_id or f"manual__{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}")
    if as_json:
        print(json.dumps(report.to_dict(), indent=1))
        return
    if not report.checked_days:
        print("No day is new or changed since the last check.")
    else:
        print(f"Checked {len(report.checked_days)} days, {report.checked_days[0]} to {report.checked_days[-1]}.")
    for incident in report.incidents:
        print(f"  {incident.status:8} {incident.since} to {incident.last}  {incident.id}  {incident.message_path}")
    print(f"{report.sent} sent, {report.rendered} rendered, {report.pending} pending, {report.resolved} resolved")


def _list(settings: Settings) -> None:
    units = {}
    try:
        units = {rule.name: rule.unit for rule in load_rules(settings.alert_rules).rules}
    except RulesError as error:
        print(error, file=sys.stderr)
    with open_state(settings) as state:
        incidents.create_tables(state)
        rows = incidents.read_incidents(state)
    if not rows:
        print("No incidents.")
    for row in rows:
        unit = units.get(row["rule"], "count")
        figures = ""
        if row["observed"] is not None:
            figures = f"{say_value(row['observed'], unit)}, expected {say_value(row['expected'], unit)}"
        print(
            f"{row['status']:8} {row['first_seen_date']} to {row['last_seen_date']}  {row['incident_id']:60} "
            f"{figures:34} message {row['message_status'] or 'none'}"
        )
        if row["last_error"]:
            print(f"         not sent: {row['last_error']}")


def _show_rules(path: Path) -> None:
    book = load_rules(path)
    print(f"{path}: {len(book.rules)} rules, valid; the last {book.check_last_days} complete days are checked.")
    for rule in book.rules:
        bounds = []
        for direction in rule.directions:
            absolute, relative = rule.absolute.of(direction), rule.relative.of(direction)
            if absolute is not None:
                bounds.append(f"{direction} {say_value(absolute, rule.unit)}")
            if relative is not None:
                bounds.append(f"{relative * 100:+g} % against the {rule.trailing_days} days before")
        print(
            f"  {rule.name} ({rule.severity}, {rule.owner}): {' or '.join(bounds)}; from "
            f"{rule.minimum_volume:g} {(rule.denominator or 'a day on average').replace('_', ' ')}; {rule.runbook}"
        )


if __name__ == "__main__":
    sys.exit(main())
