"""Turns facts into Slack messages that fit Slack's limits whatever the data."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from alerts.drivers import Driver
from alerts.facts import IncidentFacts, ResolutionFacts, TaskFailureFacts
from alerts.kpis import DAILY_TABLE, DIMENSION_TABLE

# https://docs.slack.dev/reference/block-kit/blocks ; the sum over all blocks is refused from about 13,200 on.
HEADER_LIMIT = 150
SECTION_LIMIT = 3_000
FIELD_LIMIT = 2_000
FIELDS_LIMIT = 10
BLOCKS_LIMIT = 50
MESSAGE_LIMIT = 13_200
ALT_TEXT_LIMIT = 2_000
TEXT_LIMIT = 4_000

_SEVERITY_SIGN = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_DIMENSION_LABEL = {"device_category": "Worst device", "default_channel_group": "Worst channel"}


@dataclass(frozen=True)
class Message:
    """`text` is the notification, `plain` the whole message for a terminal, `blocks` what Slack lays out."""

    text: str
    plain: str
    blocks: list[dict[str, Any]]

    def with_image(self, file_id: str, alt_text: str) -> list[dict[str, Any]]:
        """The blocks with an uploaded chart before the closing context line."""
        image = {"type": "image", "slack_file": {"id": file_id}, "alt_text": cut(alt_text, ALT_TEXT_LIMIT)}
        return [*self.blocks[:-1], image, self.blocks[-1]]


def measure(text: str) -> int:
    """Length as Slack's clients count it: an emoji outside the basic plane counts two (UTF-16 code units)."""
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def cut(text: str, limit: int) -> str:
    """Plain text on one line, of at most `limit` units, ending in … when cut."""
    return _cut(_one_line(text), limit, entities={})


def escape(text: str, limit: int = 300) -> str:
    """Text for mrkdwn on one line: &, < and > escaped, at most `limit` units after escaping."""
    return _cut(_one_line(text), limit, entities=_ENTITIES)


def escape_name(text: str, limit: int = 120) -> str:
    """A name from the data for mrkdwn: escaped, and without any formatting of its own."""
    # A zero-width space after each formatting character: `*` in a campaign's name is a character, not bold type.
    return _cut(re.sub(r"([*_~`@:])", "\\1\u200b", _one_line(text)), limit, entities=_ENTITIES)


def escape_code(text: str, limit: int) -> str:
    """Text for inside a ``` block: keeps its lines, cannot end the block."""
    return _cut(_printable_lines(text).replace("`", "'"), limit, entities=_ENTITIES)


def _printable_lines(text: str) -> str:
    # Control characters would reach the terminal that prints the message, and lone surrogates no file.
    return "".join(character for character in text if character in "\n\t" or character.isprintable()).strip("\n")


def _one_line(text: str) -> str:
    visible = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(visible.split()) or "(empty)"


def _cut(text: str, limit: int, entities: dict[str, str]) -> str:
    pieces = [entities.get(character, character) for character in text]
    if sum(map(measure, pieces)) <= limit:
        return "".join(pieces)
    kept, used = [], 1
    for piece in pieces:
        used += measure(piece)
        if used > limit:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + "…"


def say_value(value: float | None, unit: str) -> str:
    """A value with its unit, short enough for a headline."""
    if value is None:
        return "unknown"
    if unit == "share":
        return f"{value * 100:,.1f} %"
    if unit == "seconds":
        return f"{value:,.1f} s" if abs(value) < 100 else f"{value:,.0f} s"
    if unit == "usd":
        return f"${value:,.2f}" if abs(value) < 1_000 else f"${value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"


def say_change(observed: float, expected: float | None) -> str:
    """The relative change, or an empty string when there is nothing to compare with."""
    if not expected:
        return ""
    return f"{(observed / expected - 1) * 100:+,.0f} %".replace("-", "−")


def say_date(iso: str, *, with_year: bool = True) -> str:
    """2026-08-03 → Mon 3 Aug 2026."""
    date = dt.date.fromisoformat(iso)
    return f"{date:%a} {date.day} {date:%b}" + (f" {date.year}" if with_year else "")


def render_incident(facts: IncidentFacts) -> Message:
    """The one message of a KPI incident."""
    unit = facts.unit
    title = cut(facts.title, 60)
    change = say_change(facts.observed, facts.expected)
    amount = f"{say_value(facts.observed, unit)}" + (f" ({change})" if change else "")
    since = f"since {say_date(facts.first_seen_date, with_year=False)}"
    if facts.resolved_date:
        over = say_date(facts.resolved_date, with_year=False)
        since = f"{'on ' if facts.incident_days == 1 else ''}{_say_span(facts)}, normal again {over}"
    headline = f"{_SEVERITY_SIGN[facts.severity]} {title}: {amount} {since}"

    history = (
        f"{facts.baseline_days} of the {facts.trailing_days} days before"
        if facts.expected is not None
        else f"none: only {facts.baseline_days} usable days of history"
    )
    sign = ">" if facts.direction == "above" else "<"
    volume_label = facts.denominator.replace("_", " ") if facts.denominator else "the trailing daily mean"
    fields = {
        f"Observed on {say_date(facts.last_seen_date)}": amount,
        "Expected": say_value(facts.expected, unit),
        "Alert when": f"{sign} {say_value(facts.bound, unit)} ({facts.reason})",
        "Baseline": history,
        "Volume": f"{say_value(facts.volume, 'count')} {volume_label}",
        "When": _say_span(facts),
    }
    drivers = [
        (
            _DIMENSION_LABEL.get(driver.dimension, f"Worst {cut(driver.dimension, 60)}"),
            driver.value,
            _say_driver(driver, facts),
        )
        for driver in facts.drivers
    ]
    freshness = f"complete to {facts.complete_to}"
    if facts.provisional_to:
        freshness += f", provisional to {facts.provisional_to}"
    context = f"Incident {facts.incident_id} · run {facts.run_id} · data {freshness}"

    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(headline, HEADER_LIMIT), "emoji": True}},
        _section(escape(facts.description, 600)),
        {
            "type": "section",
            "fields": [_mrkdwn(f"*{escape(name, 80)}*\n{escape(value, 200)}") for name, value in fields.items()],
        },
    ]
    if drivers:
        # A driver comes with its name escaped apart, so that the name is bold and nothing inside it is markup.
        blocks.append(
            _section(
                "\n".join(
                    f"*{escape(label)}: {escape_name(value)}* {escape(text, 300)}" for label, value, text in drivers
                )
            )
        )
    blocks.append(
        _section(
            f"*Owner*  {_mention(facts.owner)}\n*Runbook*  {_link(facts.runbook, 'what to do in the first minutes')}"
        )
    )
    sql = explore_sql(facts)
    blocks.append(_section(f"*To look further* (published warehouse)\n```{escape_code(sql, 1_500)}```"))
    blocks.append(_context(context))

    lines = [
        headline,
        cut(facts.description, 600),
        *(f"{name}: {cut(value, 200)}" for name, value in fields.items()),
        *(f"{label}: {cut(value, 120)} {cut(text, 300)}" for label, value, text in drivers),
        f"Owner: {cut(facts.owner, 120)}",
        f"Runbook: {cut(facts.runbook, 300)}",
        f"To look further:\n{sql}",
        cut(context, 400),
    ]
    text = f"{headline}. Expected {say_value(facts.expected, unit)}."
    if drivers:
        text += f" {drivers[0][0]}: {cut(drivers[0][1], 60)}."
    return Message(escape(text, 600), "\n".join(lines), blocks)


def render_resolution(facts: ResolutionFacts) -> Message:
    """The reply in the incident's thread when it is over."""
    first, last = dt.date.fromisoformat(facts.first_seen_date), dt.date.fromisoformat(facts.last_seen_date)
    days = (last - first).days + 1
    lasted = "1 day" if days == 1 else f"{days} days"
    text = (
        f"✅ {cut(facts.title, 60)} is back to normal on {say_date(facts.resolved_date)}: "
        f"{say_value(facts.observed, facts.unit)}, expected {say_value(facts.expected, facts.unit)}. "
        f"It lasted {lasted}."
    )
    return Message(escape(text, 600), text, [_section(escape(text, 600)), _context(f"Incident {facts.incident_id}")])


def render_task_failure(facts: TaskFailureFacts) -> Message:
    """A plain short message about a failed task."""
    headline = f"🔴 Task {cut(facts.task_id, 60)} of {cut(facts.dag_id, 50)} failed"
    context = f"Incident {facts.incident_id} · run {facts.run_id} · try {facts.try_number}"
    error = _printable_lines(facts.error) or "(no error text)"
    where = f"*Log*  {_link(facts.log_url, 'open the log') if facts.log_url else 'see the task in Airflow'}"
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(headline, HEADER_LIMIT), "emoji": True}},
        _section(f"```{escape_code(error, 1_800)}```"),
        _section(f"{where}\n*Runbook*  {_link(facts.runbook, 'what to do in the first minutes')}"),
        _context(context),
    ]
    last_line = error.strip().split("\n")[-1]
    lines = [
        headline,
        _cut(error, 2_000, entities={}),
        f"Log: {cut(facts.log_url or '-', 1_000)}",
        f"Runbook: {cut(facts.runbook, 300)}",
        cut(context, 400),
    ]
    return Message(escape(f"{headline}: {cut(last_line, 300)}", 600), "\n".join(lines), blocks)


def explore_sql(facts: IncidentFacts) -> str:
    """A query that shows the incident's days and the week before, by device and channel."""
    start = dt.date.fromisoformat(facts.first_seen_date) - dt.timedelta(days=7)
    columns = [facts.kpi] if facts.denominator in (None, facts.kpi) else [facts.kpi, str(facts.denominator)]
    if facts.drivers:
        return (
            f"select kpi_date, dimension, dimension_value, {', '.join(columns)}\n"
            f"from {DIMENSION_TABLE}\n"
            f"where kpi_date between date '{start}' and date '{facts.last_seen_date}'\n"
            "  and dimension in ('device_category', 'default_channel_group')\n"
            f"order by dimension, dimension_value, kpi_date"
        )
    return (
        f"select kpi_date, is_provisional, {', '.join(columns)}\n"
        f"from {DAILY_TABLE}\n"
        f"where kpi_date between date '{start}' and date '{facts.last_seen_date}'\n"
        "order by kpi_date"
    )


def _say_span(facts: IncidentFacts) -> str:
    if facts.first_seen_date == facts.last_seen_date:
        return say_date(facts.first_seen_date)
    first, last = (say_date(date, with_year=False) for date in (facts.first_seen_date, facts.last_seen_date))
    return f"{first} to {last} ({facts.incident_days} days)"


def _say_driver(driver: Driver, facts: IncidentFacts) -> str:
    text = f"{say_value(driver.observed, facts.unit)}, usually {say_value(driver.expected, facts.unit)}"
    if facts.denominator is None:
        return f"{text}: {driver.excess:+,.1f} of {driver.total_excess:+,.1f} a day"
    if facts.unit == "share":
        noun = facts.numerator_label
        return f"{text}: {driver.excess:+,.0f} {noun} beyond its usual, of {driver.total_excess:+,.0f} in all"
    change = say_value(abs(driver.excess), facts.unit)
    sign = "+" if driver.excess >= 0 else "−"
    total_sign = "+" if driver.total_excess >= 0 else "−"
    return f"{text}: {sign}{change} of the mean's {total_sign}{say_value(abs(driver.total_excess), facts.unit)}"


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(escape(text, 800))]}


def _mention(owner: str) -> str:
    if re.fullmatch(r"[UW][A-Z0-9]{6,20}", owner):
        return f"<@{owner}>"
    if re.fullmatch(r"S[A-Z0-9]{6,20}", owner):
        return f"<!subteam^{owner}>"
    return escape(owner, 120)


def _link(target: str, label: str) -> str:
    if re.match(r"https?://[^\s/]+", target):
        url = quote(target, safe=":/?#[]@!$&'()*+,;=%~-._", errors="replace").replace("&", "&amp;")
        # A URL cut short leads nowhere: beyond a sane length it is shown as text.
        if measure(url) <= 1_000:
            return f"<{url}|{label}>"
    return f"`{escape_code(cut(target, 300), 300)}`"
