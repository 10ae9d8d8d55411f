"""`python -m alerts check|follow-up|list|show|ack|snooze|expected|deliver|serve|rules|backtest`."""

from __future__ import annotations

import argparse
import datetime as dt
import getpass
import json
import logging
import sys
from pathlib import Path

import duckdb

from alerts.buttons import PATH, AnswerServer
from alerts.channels import outbox
from alerts.channels.folder import message_path
from alerts.detection.panel import check_columns
from alerts.incidents import store
from alerts.incidents.answers import Answer, answer
from alerts.incidents.sending import deliver_outbox
from alerts.job import AlertReport, check_and_send, follow_up, report_week
from alerts.rules.book import RuleBook
from alerts.rules.loading import load_rules
from alerts.state import open_alerts
from alerts.text import say_value
from foundation.command import run_command, whole_number
from foundation.connect import open_published
from foundation.errors import SettingsError, UsageError
from foundation.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    return run_command(_make_parser(), arguments, log_level=logging.WARNING)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m alerts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="check the complete days now and deliver the messages")
    check.add_argument("--run-id", default=None, help="shown in the messages; default: manual and the time")
    check.add_argument(
        "--as-of", type=dt.datetime.fromisoformat, default=None, help="moment to check as of; default: now"
    )
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=_check)
    follow = commands.add_parser(
        "follow-up", help="end snoozes, escalate, check that the pipeline has run, deliver what waits"
    )
    follow.set_defaults(run=_follow_up)
    week = commands.add_parser("week", help="send the weekly report now, whatever the day")
    week.add_argument("--monday", type=dt.date.fromisoformat, help="of the week (default: the last whole one)")
    week.set_defaults(run=_week)
    commands.add_parser("list", help="show all incidents").set_defaults(run=_list)
    show = commands.add_parser("show", help="show an incident's message and its history")
    show.add_argument("incident")
    show.set_defaults(run=_show)
    for name, text in (
        ("ack", "acknowledge: somebody is on it; nobody else is called"),
        ("snooze", "say nothing about it until a given day"),
        ("expected", "raise no alert for its days, and keep them out of baselines"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("incident")
        command.add_argument("--by", default=None, help="who answers; default: the user of this machine")
        if name != "ack":
            command.add_argument("--until", type=dt.date.fromisoformat, default=None, help="YYYY-MM-DD")
        command.set_defaults(run=_answer)
    commands.add_parser("deliver", help="deliver what waits in the outbox").set_defaults(run=_deliver)
    serve = commands.add_parser("serve", help=f"receive the answers of Slack's buttons at {PATH}")
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, behind an HTTPS proxy")
    serve.add_argument("--port", type=whole_number(0, 65535), default=8090)
    serve.set_defaults(run=_serve)
    rules = commands.add_parser("rules", help="validate the rules and show them")
    rules.add_argument("path", nargs="?", type=Path, default=None, help="default: FUNNELHOUSE_ALERT_RULES")
    rules.set_defaults(run=_show_rules)
    _add_backtest(
        commands.add_parser("backtest", help="show what the rules would have said about the past, or a simulation")
    )
    return parser


def _add_backtest(backtest: argparse.ArgumentParser) -> None:
    backtest.add_argument(
        "--days", type=whole_number(1), default=None, help="number of newest complete days; default: all"
    )
    backtest.add_argument(
        "--hourly", action="store_true", help="the hours, each as it would have been known at its end"
    )
    backtest.add_argument("--simulate", action="store_true", help="simulated shops: false alarms and detections")
    backtest.add_argument(
        "--years", type=whole_number(1), default=100, help="simulated years for each size (%(default)s)"
    )
    backtest.add_argument("--seed", type=whole_number(0), default=1, help="seed of the simulation (%(default)s)")
    backtest.set_defaults(run=_backtest)


def _name_run() -> str:
    return f"manual__{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}"


def _check(options: argparse.Namespace, settings: Settings) -> int:
    as_of = options.as_of
    if as_of is not None and as_of.tzinfo is None:
        as_of = as_of.replace(tzinfo=settings.zone)
    report = check_and_send(settings, run_id=options.run_id or _name_run(), as_of=as_of)
    print(json.dumps(report.to_dict(), indent=1) if options.json else _say_report(report))
    return 0


def _follow_up(options: argparse.Namespace, settings: Settings) -> int:
    print(_say_delivery(follow_up(settings, run_id=_name_run())))
    return 0


def _answer(options: argparse.Namespace, settings: Settings) -> int:
    kind: Answer = "acknowledge" if options.command == "ack" else options.command
    by = options.by or getpass.getuser()
    print(answer(settings, options.incident, kind, by=by, until=getattr(options, "until", None)))
    deliver_outbox(settings)
    return 0


def _deliver(options: argparse.Namespace, settings: Settings) -> int:
    delivery = deliver_outbox(settings)
    print(f"{delivery.sent} sent, {delivery.rendered} rendered, {delivery.pending} pending")
    return 0


def _say_report(report: AlertReport) -> str:
    lines = ["No day is new or changed since the last check."]
    if report.checked_days:
        count, first, last = len(report.checked_days), report.checked_days[0], report.checked_days[-1]
        lines = [f"Checked {count} days, {first} to {last}."]
    for incident in report.incidents:
        if incident.folded_into is None:
            lines.append(
                f"  {incident.status:12} {incident.since} to {incident.last}  {incident.id}  {incident.message_path}"
            )
    return "\n".join([*lines, _say_delivery(report)])


def _say_delivery(report: AlertReport) -> str:
    return f"{report.sent} sent, {report.rendered} rendered, {report.pending} pending, {report.resolved} resolved"


def _week(options: argparse.Namespace, settings: Settings) -> int:
    moment = dt.datetime.now(settings.zone)
    monday = options.monday or moment.date() - dt.timedelta(days=moment.weekday() + 7)
    if monday.weekday():
        raise UsageError(f"{monday} is not a Monday")
    facts = report_week(settings, run_id="by hand", moment=moment, monday=monday)
    if facts is None:
        raise UsageError(f"{monday + dt.timedelta(days=6)}, the week's Sunday, is not published")
    deliver_outbox(settings)
    print(message_path(settings, facts.incident_id).read_text(encoding="utf-8"))
    return 0


def _list(options: argparse.Namespace, settings: Settings) -> int:
    with open_alerts(settings) as state:
        incidents = store.read_incidents(state)
        # of several that wait the oldest tells why
        waiting = {message.incident_id: message.last_error for message in reversed(outbox.list_pending(state))}
    if not incidents:
        print("No incidents.")
    for incident in incidents:
        figures = ""
        if not incident.is_of_run and incident.figures.observed is not None:
            seen, usual = (
                say_value(value, incident.unit) for value in (incident.figures.observed, incident.figures.expected)
            )
            figures = f"{seen}, expected {usual}"
        folded = f"  reported in {incident.folded_into}" if incident.folded_into else ""
        print(
            f"{incident.status:12} {incident.first_seen_date} to {incident.last_seen_date}  "
            f"{incident.incident_id:60} {figures}{folded}".rstrip()
        )
        if incident.incident_id in waiting:
            print(f"             waiting to be sent: {waiting[incident.incident_id] or 'not tried yet'}")
    return 0


def _show(options: argparse.Namespace, settings: Settings) -> int:
    with open_alerts(settings) as state:
        incident = store.read_incident(state, options.incident)
        history = store.read_history(state, options.incident)
    message = message_path(settings, incident.folded_into or incident.incident_id)
    if message.exists():
        print(message.read_text(encoding="utf-8"))
    for entry in history:
        print(f"{entry.happened_at}  {entry.event:12} {entry.done_by}  {entry.detail}".rstrip())
    return 0


def _serve(options: argparse.Namespace, settings: Settings) -> int:
    host = options.host
    if settings.slack_signing_secret is None:
        raise SettingsError("set FUNNELHOUSE_SLACK_SIGNING_SECRET to the app's signing secret (Basic Information)")
    logging.getLogger("alerts").setLevel(logging.INFO)
    server = AnswerServer(settings, host, options.port)
    print(f"listening for answers at http://{host}:{server.server_address[1]}{PATH}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    return 0


def _show_rules(options: argparse.Namespace, settings: Settings) -> int:
    path = options.path or settings.alert_rules
    book = load_rules(path)
    if settings.published_path.exists():
        with open_published(settings) as warehouse:
            check_columns(warehouse, book.rules, path)
    print(f"{path}: {len(book.rules)} rules, valid; the last {book.check_last_days} complete days are checked.")
    for rule in book.rules:
        watched = f"{rule.kpi} {' or '.join(rule.directions)} the expectation" if rule.kind == "kpi" else rule.kind
        by = f", also by {' and '.join(rule.dimensions)}" if rule.dimensions else ""
        print(f"  {rule.name} ({rule.severity}, {rule.owner}): {watched}{by}: {'; '.join(rule.say_limits())}")
    return 0


def _backtest(options: argparse.Namespace, settings: Settings) -> int:
    from alerts.detection.backtest import draw_backtest, replay, say_backtest
    from alerts.detection.hourly_simulation import simulate_hours
    from alerts.detection.simulation import say_table, simulate

    book = load_rules(settings.alert_rules)
    if options.simulate and options.hourly:
        for line in simulate_hours(book, years=options.years, seed=options.seed):
            print(line, flush=True)
        return 0
    if options.simulate:
        print(say_table(simulate(book, years=options.years, seed=options.seed)))
        return 0
    with open_published(settings) as warehouse:
        check_columns(warehouse, book.rules, settings.alert_rules)
        if options.hourly:
            return _backtest_hours(warehouse, book, settings, options.days)
        result = replay(warehouse, book, as_of=dt.datetime.now(settings.zone), days=options.days)
    print(say_backtest(result))
    path = settings.alerts_dir / "backtest" / f"{result.first}_{result.last}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(draw_backtest(result))
    print(f"Chart: {path}")
    return 0


def _backtest_hours(warehouse: duckdb.DuckDBPyConnection, book: RuleBook, settings: Settings, days: int | None) -> int:
    from alerts.detection.hourly_backtest import draw_hourly_backtest, replay_hours, say_hourly_backtest

    now = dt.datetime.now(settings.zone)
    replays = replay_hours(warehouse, book, as_of=now, zone=settings.zone, days=days)
    print(say_hourly_backtest(replays, settings.zone))
    if any(each.at for each in replays):
        path = settings.alerts_dir / "backtest" / f"hourly_{now:%Y-%m-%d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_hourly_backtest(replays))
        print(f"Chart: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
