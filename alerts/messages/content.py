"""Says an incident in words, and lays them out for Slack within Slack's limits whatever the data."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from alerts.detection.causes import Driver, Impact
from alerts.detection.panel import DAILY_TABLE, DIMENSION_TABLE
from alerts.messages.facts import RUN_KINDS, EventFacts, IncidentFacts, Member
from alerts.text import (
    cut,
    cut_lines,
    escape,
    escape_code,
    escape_name,
    measure,
    one_line,
    printable_lines,
    say_change,
    say_date,
    say_days,
    say_value,
)

# https://docs.slack.dev/reference/block-kit/blocks ; the sum over all blocks is refused from about 13,200 on.
HEADER_LIMIT = 150
ALT_TEXT_LIMIT = 2_000
TEXT_LIMIT = 4_000
# From so many rules with one cause on the message is a digest of them; two are one's message that mentions the other.
DIGEST_SIZE = 3
DRIVERS_SHOWN = 3
MEMBERS_SHOWN = 6
LINKS_SHOWN = 3
LINES_LIMIT = 2_400
LINK_LIMIT = 500

BUTTONS = (
    ("acknowledge", "Acknowledge", None),
    ("snooze_1", "Snooze 1 day", None),
    ("snooze_7", "Snooze 7 days", None),
    ("expected", "Expected", "No alert for these days, and no baseline will use them."),
)

_SEVERITY_SIGN = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
_STATUS_SIGN = {"acknowledged": "👀", "snoozed": "💤", "resolved": "✅"}
_EVENT_SIGN = {
    "acknowledged": "👀",
    "snoozed": "💤",
    "woken": "⏰",
    "escalated": "🚨",
    "expected": "✅",
    "withdrawn": "✅",
    "resolved": "✅",
    "reopened": "🔁",
    "joined": "➕",
    "folded_away": "↪️",
}


@dataclass(frozen=True)
class Line:
    """A line with a label, and perhaps a name that comes from the data."""

    label: str
    name: str | None
    text: str


@dataclass(frozen=True)
class Content:
    """What a message says, before any channel's layout. All texts are plain; `error` and `sql` keep their lines."""

    headline: str
    notification: str
    context: str
    description: str | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    error: str | None = None
    owner: str | None = None
    runbook: str | None = None
    links: list[tuple[str, str]] = field(default_factory=list)
    sql: str | None = None


@dataclass(frozen=True)
class Message:
    """`text` is the notification, `plain` the whole message for a terminal, `blocks` what Slack lays out."""

    text: str
    plain: str
    blocks: list[dict[str, Any]]

    def with_image(self, file_id: str, alt_text: str) -> list[dict[str, Any]]:
        """The blocks with an uploaded chart below the figures: on a phone, what follows is a scroll away."""
        image = {"type": "image", "slack_file": {"id": file_id}, "alt_text": cut(alt_text, ALT_TEXT_LIMIT)}
        place = next((index + 1 for index, block in enumerate(self.blocks) if "fields" in block), len(self.blocks) - 1)
        return [*self.blocks[:place], image, *self.blocks[place:]]


def describe_incident(facts: IncidentFacts) -> Content:
    """An incident's own message, as it stands now."""
    return _describe_run(facts) if facts.kind in RUN_KINDS else _describe_kpi(facts)


def describe_event(event: EventFacts) -> Content:
    """One change in an incident's life."""
    facts = event.facts
    sign = _EVENT_SIGN.get(event.event)
    text = _say_event(event)
    headline = f"{sign} {text}" if sign else text
    return Content(headline=headline, notification=headline, context=f"Incident {facts.incident_id} · {event.by}")


def render_incident(facts: IncidentFacts, *, with_buttons: bool = False) -> Message:
    """An incident's own message for Slack."""
    return _to_slack(describe_incident(facts), facts.incident_id if with_buttons and not facts.is_over else None)


def render_event(event: EventFacts) -> Message:
    """The reply in an incident's thread."""
    content = describe_event(event)
    called = f"{mention(event.mention)} " if event.mention else ""
    text = escape(content.headline, 1_200)
    blocks = [_section(called + _mention_people(text)), _context(content.context)]
    plain = f"{event.mention} " if event.mention else ""
    return Message(called + _mention_people(escape(content.headline, 600)), f"{plain}{content.headline}", blocks)


def _describe_kpi(facts: IncidentFacts) -> Content:
    unit, name = facts.unit, say_name(facts.title, facts.dimension_value)
    amount = say_amount(facts.observed, facts.expected, unit)
    since = f"since {say_date(facts.first_seen_date, with_year=False)}"
    if facts.is_over:
        since = f"{'on ' if facts.incident_days == 1 else ''}{_say_span(facts)}"
        if facts.resolved_date:
            since += f", normal again {say_date(facts.resolved_date, with_year=False)}"
    headline = f"{_sign(facts)} {name}: {amount} {since}"
    others = sorted({member.title for member in facts.members} - {facts.title})
    kinds = 1 + len(others)
    if kinds >= DIGEST_SIZE:
        driver = f" ({cut(facts.cause.partition('=')[2], 30)})" if facts.cause else ""
        headline = f"{_sign(facts)} {kinds} alerts, one cause{driver}: {name} {amount} {since}"

    period = "" if facts.period_days == 1 else f" ({facts.period_days} days to then)"
    volume_label = (facts.denominator or "").replace("_", " ")
    fields = [
        (f"Observed on {say_date(facts.last_seen_date)}{period}", amount),
        ("Expected", say_value(facts.expected, unit)),
        ("Usual range", _say_band(facts)),
        ("When", _say_span(facts)),
        (
            "Reason",
            facts.reason if facts.z is None or "z = " in facts.reason else f"{facts.reason} (z = {facts.z:+,.1f})",
        ),
        ("Status", _say_status(facts)),
    ]
    if facts.volume is not None and volume_label:
        fields.append(("Volume", f"{say_value(facts.volume, 'count')} {volume_label}"))
    if facts.causes is not None and facts.causes.impact is not None:
        fields.append(("Estimated cost so far", _say_impact(facts.causes.impact)))

    drivers = facts.causes.drivers[:DRIVERS_SHOWN] if facts.causes is not None else []
    lines = [_say_driver_line(driver, facts) for driver in drivers]
    if (mix := _say_mix(facts)) is not None:
        lines.append(mix)
    lines += [_say_member(member) for member in facts.members[:MEMBERS_SHOWN]]
    if len(facts.members) > MEMBERS_SHOWN:
        lines.append(Line("And", None, f"{len(facts.members) - MEMBERS_SHOWN} more of this cause"))
    notification = f"{headline}. Expected {say_value(facts.expected, unit)}."
    if drivers:
        notification += f" {lines[0].label}: {cut(drivers[0].value, 60)}."
    if others:
        notification += f" Also: {cut(', '.join(others), 200)}."
    return Content(
        headline=headline,
        notification=notification,
        context=_say_context(facts),
        description=facts.description,
        fields=fields,
        lines=lines,
        owner=facts.owner,
        runbook=facts.runbook,
        links=list(facts.links.items())[:LINKS_SHOWN],
        sql=explore_sql(facts) if facts.kind == "kpi" else None,
    )


def _describe_run(facts: IncidentFacts) -> Content:
    headline = f"{_sign(facts)} {say_run_problem(facts)}"
    if facts.is_over:
        headline += ": over"
    error = printable_lines(facts.error or "") or "(no error text)"
    fields = [
        ("Since", _say_span(facts) if facts.incident_days > 1 else say_date(facts.first_seen_date)),
        ("Times", f"{facts.incident_days:,}"),
        ("Status", _say_status(facts)),
    ]
    trial = f" · try {facts.try_number}" if facts.try_number else ""
    return Content(
        headline=headline,
        notification=f"{headline}: {cut(error.strip().splitlines()[-1] if error.strip() else '', 300)}",
        context=f"Incident {facts.incident_id} · run {facts.run_id}{trial}",
        fields=fields,
        error=error,
        owner=facts.owner,
        runbook=facts.runbook,
        links=[("Log", facts.log_url)] if facts.log_url else [],
    )


def say_run_problem(facts: IncidentFacts) -> str:
    """What went wrong with a run, in a few words."""
    dag = cut(facts.dag_id or "", 50)
    if facts.kind == "missed_schedule":
        return f"{dag} has not succeeded when it should have"
    if facts.kind == "blocked_publication":
        found = re.findall(r"^\s*- ([\w.]{1,120}):", facts.error or "", flags=re.MULTILINE)
        what = f": {cut(', '.join(found), 70)}" if found else ""
        return f"Publication blocked by {cut(facts.task_id or '', 40)}{what}"
    if facts.task_id is None:
        return f"Run of {dag} did not end in time"
    return f"Task {cut(facts.task_id, 60)} of {dag} failed"


def say_name(title: str, subject: str | None) -> str:
    """`Cart abandonment rate`, or `Cart abandonment rate, mobile`."""
    return cut(title, 60) if subject is None else f"{cut(title, 45)}, {cut(subject, 25)}"


def say_amount(observed: float | None, expected: float | None, unit: str) -> str:
    """A value and, where there is something to compare with, its change: `90.0 % (+38 %)`."""
    change = say_change(observed, expected) if observed is not None else ""
    return say_value(observed, unit) + (f" ({change})" if change else "")


def _sign(facts: IncidentFacts) -> str:
    return _STATUS_SIGN.get(facts.status) or _SEVERITY_SIGN.get(facts.severity, "🔵")


def _say_status(facts: IncidentFacts) -> str:
    if facts.is_over:
        return f"over ({facts.reason})" if facts.resolved_date is None and facts.kind not in RUN_KINDS else "over"
    if facts.continues_in is not None:
        return f"goes on in the thread of {cut(facts.continues_in, 80)}"
    if facts.status == "snoozed" and facts.snoozed_until:
        return f"snoozed until {say_date(facts.snoozed_until)}"
    if facts.status == "acknowledged":
        return f"acknowledged by {facts.acknowledged_by or 'somebody'}"
    return "open, escalated" if facts.is_escalated else "open"


def _say_context(facts: IncidentFacts) -> str:
    text = f"Incident {facts.incident_id} · run {facts.run_id}"
    if facts.complete_to:
        text += f" · data complete to {facts.complete_to}"
    if facts.provisional_to:
        text += f", provisional to {facts.provisional_to}"
    return text


def _say_band(facts: IncidentFacts) -> str:
    low, high = (
        say_value(edge, facts.unit) if edge is not None else None for edge in (facts.band_low, facts.band_high)
    )
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"from {low}"
    return f"up to {high}" if high is not None else "unknown"


def _say_impact(impact: Impact) -> str:
    gains = impact.lost_orders < 0
    sign = -1 if gains else 1
    orders, usd = impact.lost_orders * sign, impact.lost_revenue_usd * sign
    order_ends = sorted([impact.lost_orders_low * sign, impact.lost_orders_high * sign])
    usd_ends = sorted([impact.lost_revenue_usd_low * sign, impact.lost_revenue_usd_high * sign])
    return (
        f"{orders:,.0f} orders {'more' if gains else 'lost'} ({order_ends[0]:,.0f} to {order_ends[1]:,.0f}), "
        f"${usd:,.0f} (${usd_ends[0]:,.0f} to ${usd_ends[1]:,.0f}); 95 % intervals"
    ).replace("-", "−")


def _say_driver_line(driver: Driver, facts: IncidentFacts) -> Line:
    label = f"Driven by {cut(driver.dimension.replace('_category', '').replace('_', ' '), 40)}"
    return Line(label, driver.value, _say_driver(driver, facts))


def _say_driver(driver: Driver, facts: IncidentFacts) -> str:
    if driver.kind == "mix":
        text = f"{say_value(driver.observed, 'share')} of the sessions, usually {say_value(driver.expected, 'share')}"
    else:
        text = f"{say_value(driver.observed, facts.unit)}, usually {say_value(driver.expected, facts.unit)}"
    if facts.unit == "share":
        text += f": {driver.excess:+,.0f} {facts.numerator_label}, of {driver.total_excess:+,.0f} in all"
    else:
        excess, total = (_say_signed(value, facts.unit) for value in (driver.excess, driver.total_excess))
        text += f": {excess} of {total}"
    if driver.is_significant:
        return f"{text} (p {'< 0.001' if driver.p_adjusted < 0.001 else f'= {driver.p_adjusted:.3f}'})"
    return f"{text} (may be chance)"


def _say_signed(value: float, unit: str) -> str:
    return f"{'+' if value >= 0 else '−'}{say_value(abs(value), unit)}"


def _say_mix(facts: IncidentFacts) -> Line | None:
    causes = facts.causes
    if causes is None or causes.mix_effect is None or causes.rate_effect is None:
        return None
    if facts.unit == "share":
        rate, mix = (f"{effect * 100:+,.1f} points" for effect in (causes.rate_effect, causes.mix_effect))
    else:
        rate, mix = (_say_signed(effect, facts.unit) for effect in (causes.rate_effect, causes.mix_effect))
    return Line("Of the change", None, f"{rate} within the values, {mix} from their mix")


def _say_member(member: Member) -> Line:
    over = ", over" if member.status == "resolved" else ""
    amount = say_amount(member.observed, member.expected, member.unit)
    return Line("Same cause", say_name(member.title, member.subject), f"{amount}{over}")


def _say_event(event: EventFacts) -> str:
    facts = event.facts
    is_run = facts.kind in RUN_KINDS
    name = say_run_problem(facts) if is_run else say_name(facts.title, facts.dimension_value)
    if event.event == "updated" and is_run:
        last_line = cut(printable_lines(facts.error or "(no error text)").strip().split("\n")[-1], 300)
        return f"Again, in run {cut(facts.run_id, 120)} ({_say_times(facts.incident_days)}): {last_line}"
    if event.event == "updated":
        amount = say_amount(facts.observed, facts.expected, facts.unit)
        return (
            f"{say_days(facts.incident_days)} now: {amount} on {say_date(facts.last_seen_date)}, "
            f"expected {say_value(facts.expected, facts.unit)}"
        )
    if event.event == "resolved" and is_run:
        return f"{name}: it works again. {_say_duration(facts)}"
    if event.event == "resolved" and facts.resolved_date is not None:
        return (
            f"{name} is back to normal on {say_date(facts.resolved_date)}: {say_value(event.observed, facts.unit)}, "
            f"expected {say_value(facts.expected, facts.unit)}. {_say_duration(facts)}"
        )
    return {
        "resolved": f"{name} is closed: {facts.reason}. {_say_duration(facts)}",
        "withdrawn": f"{name}: withdrawn, its days no longer breach (their data or the rule changed).",
        "expected": f"{name}: marked as expected by {event.by}, {event.detail}. No baseline will use these days.",
        "acknowledged": f"Acknowledged by {event.by}.",
        "snoozed": f"Snoozed {event.detail} by {event.by}.",
        "woken": f"The snooze is over, and {name} is still {say_amount(facts.observed, facts.expected, facts.unit)}.",
        "escalated": f"Nobody has acknowledged this {event.detail}: {name}",
        "reopened": (
            f"{name} failed again: {cut(facts.error or '', 300)}"
            if is_run
            else f"It is back: {name} {say_amount(facts.observed, facts.expected, facts.unit)} "
            f"on {say_date(facts.last_seen_date)}"
        ),
        "joined": event.detail,
        "folded_away": event.detail,
    }.get(event.event, f"{event.event}: {event.detail}")


def _say_times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times in all"


def _say_duration(facts: IncidentFacts) -> str:
    first, last = dt.date.fromisoformat(facts.first_seen_date), dt.date.fromisoformat(facts.last_seen_date)
    return f"It lasted {say_days((last - first).days + 1)}."


def _say_span(facts: IncidentFacts) -> str:
    if facts.first_seen_date == facts.last_seen_date:
        return say_date(facts.first_seen_date)
    first, last = (say_date(date, with_year=False) for date in (facts.first_seen_date, facts.last_seen_date))
    return f"{first} to {last} ({say_days(facts.incident_days)})"


def explore_sql(facts: IncidentFacts) -> str:
    """A query for `make sql` that shows the incident's days and the two weeks before, by the driving dimension."""
    start = dt.date.fromisoformat(facts.first_seen_date) - dt.timedelta(days=14)
    columns = ", ".join(dict.fromkeys([facts.kpi, *([facts.denominator] if facts.denominator else [])]))
    span = f"kpi_date between date '{start}' and date '{facts.last_seen_date}'"
    dimension = facts.dimension or (
        facts.causes.drivers[0].dimension if facts.causes and facts.causes.drivers else None
    )
    # Values come from the data and would have to survive make, the shell and SQL: the query names only the dimension.
    if dimension is not None and re.fullmatch(r"[a-z][a-z0-9_]{0,62}", dimension):
        return (
            f"select kpi_date, dimension_value, {columns}\nfrom {DIMENSION_TABLE}\n"
            f"where dimension = '{dimension}' and {span}\norder by dimension_value, kpi_date"
        )
    return f"select kpi_date, is_provisional, {columns}\nfrom {DAILY_TABLE}\nwhere {span}\norder by kpi_date"


def to_plain(content: Content) -> str:
    """The whole message as text, for a terminal and for mail programs without HTML."""
    lines = [content.headline]
    if content.description:
        lines.append(cut(content.description, 600))
    if content.error:
        lines.append(cut_lines(content.error, 2_000))
    lines += [f"{name}: {cut(value, 200)}" for name, value in content.fields]
    for line in content.lines:
        name = f"{cut(line.name, 120)}: " if line.name is not None else ""
        lines.append(f"{line.label}: {name}{cut(line.text, 300)}")
    if content.owner:
        lines.append(f"Owner: {cut(content.owner, 120)}")
    if content.runbook:
        lines.append(f"Runbook: {cut(content.runbook, 300)}")
    lines += [f"{cut(label, 60).capitalize()}: {cut(url, 1_000)}" for label, url in content.links]
    if content.sql:
        lines.append(f"To look further:\n{as_make_command(content.sql)}")
    return "\n".join([*lines, cut(content.context, 400)])


def as_make_command(sql: str) -> str:
    """The query as one line for a shell."""
    return f'make sql Q="{" ".join(sql.split())}"'


def _to_slack(content: Content, buttons_for: str | None) -> Message:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(content.headline, HEADER_LIMIT), "emoji": True}},
    ]
    if content.description:
        blocks.append(_section(escape(content.description, 600)))
    if content.error:
        blocks.append(_section(f"```{escape_code(content.error, 1_800)}```"))
    if content.fields:
        texts = [f"*{escape(name, 80)}*\n{_mention_people(escape(value, 200))}" for name, value in content.fields]
        blocks.append({"type": "section", "fields": [_mrkdwn(text) for text in texts]})
    if content.lines:
        # A name from the data is escaped apart, so that the name is bold and nothing inside it is markup.
        shown = [
            f"*{escape(line.label, 60)}{'' if line.name is None else f': {escape_name(line.name, 80)}'}*  "
            f"{escape(line.text, 200)}"
            for line in content.lines
        ]
        while measure("\n".join(shown)) > LINES_LIMIT:
            shown.pop()
        blocks.append(_section("\n".join(shown)))
    where = []
    if content.owner:
        where.append(f"*Owner*  {mention(content.owner)}")
    if content.runbook:
        where.append(f"*Runbook*  {_link(content.runbook, 'what to do in the first minutes')}")
    where += [f"*{escape(label.capitalize(), 40)}*  {_link(url, 'open')}" for label, url in content.links]
    if where:
        blocks.append(_section("\n".join(where)))
    if content.sql:
        blocks.append(_section(f"*To look further*\n```{escape_code(as_make_command(content.sql), 1_200)}```"))
    if buttons_for is not None:
        blocks.append(_make_buttons(buttons_for))
    blocks.append(_context(content.context))
    return Message(escape(content.notification, 600), to_plain(content), blocks)


def _make_buttons(incident_id: str) -> dict[str, Any]:
    elements = []
    for action, label, question in BUTTONS:
        button: dict[str, Any] = {
            "type": "button",
            "action_id": action,
            "text": {"type": "plain_text", "text": label},
            "value": cut(incident_id, 200),
        }
        if question is not None:
            button["confirm"] = {
                "title": {"type": "plain_text", "text": "Are you sure?"},
                "text": {"type": "plain_text", "text": question},
                "confirm": {"type": "plain_text", "text": "Yes"},
                "deny": {"type": "plain_text", "text": "No"},
            }
        elements.append(button)
    return {"type": "actions", "block_id": "answers", "elements": elements}


def mention(owner: str) -> str:
    """A Slack user or user group by id is called; any other name is plain text."""
    if re.fullmatch(r"[UW][A-Z0-9]{6,20}", owner):
        return f"<@{owner}>"
    if re.fullmatch(r"S[A-Z0-9]{6,20}", owner):
        return f"<!subteam^{owner}>"
    return escape(owner, 120)


def _mention_people(escaped: str) -> str:
    # Slack's own ids only ever stand where an answer names who gave it.
    return re.sub(r"(?<=by )U[A-Z0-9]{8,20}\b", lambda match: f"<@{match[0]}>", escaped)


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(escape(one_line(text), 800))]}


def quote_url(target: str) -> str | None:
    """A web address with everything odd in it encoded; None for what is none or is far too long."""
    if not re.match(r"https?://[^\s/]+", target):
        return None
    url = quote(target, safe=":/?#[]@!$&'()*+,;=%~-._", errors="replace")
    # A URL cut short leads nowhere: beyond a sane length it is shown as text.
    return url if len(url) <= LINK_LIMIT else None


def _link(target: str, label: str) -> str:
    url = quote_url(target)
    if url is not None and measure(url.replace("&", "&amp;")) <= LINK_LIMIT:
        return f"<{url.replace('&', '&amp;')}|{label}>"
    return f"`{escape_code(cut(target, 300), 300)}`"
