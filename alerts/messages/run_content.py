"""Says what happened to the machinery itself: a run in Airflow, a channel."""

from __future__ import annotations

import re

from alerts.messages.content import Content, choose_sign, list_people, say_duration, say_span, say_status
from alerts.messages.facts import BAD_RULE, BROKEN_CHANNEL, REFUSED_MODEL, UNREADABLE_FILE, RunFacts
from alerts.text import cut, printable_lines, say_date


def describe_run(facts: RunFacts) -> Content:
    """The incident's own message."""
    standing = facts.standing
    headline = f"{choose_sign(facts)} {say_run_problem(facts)}"
    if standing.is_over:
        headline += ": over"
    error = printable_lines(facts.error) or "(no error text)"
    trial = f" · try {facts.try_number}" if facts.try_number else ""
    return Content(
        headline=headline,
        notification=f"{headline}: {cut(error.strip().splitlines()[-1] if error.strip() else '', 300)}",
        context=f"Incident {facts.incident_id} · run {facts.run_id}{trial}",
        fields=[
            ("Since", say_span(standing) if standing.incident_days > 1 else say_date(standing.first_seen_date)),
            ("Times", f"{standing.incident_days:,}"),
            ("Status", say_status(standing)),
        ],
        error=error,
        owner=facts.owner,
        runbook=facts.runbook,
        links=[("Log", facts.log_url)] if facts.log_url else [],
        people=list_people(standing),
    )


def say_run_problem(facts: RunFacts) -> str:
    """What went wrong with a run, in a few words."""
    dag = cut(facts.subject, 50)
    if facts.kind == BROKEN_CHANNEL:
        return f"Alerts no longer get through by {dag}"
    if facts.kind == BAD_RULE:
        return f"The alert rule {dag} is not checked"
    if facts.kind == REFUSED_MODEL:
        return f"The model {dag} is not used: its scores are empty"
    if facts.kind == UNREADABLE_FILE:
        return "Files of the export can't be loaded"
    if facts.kind == "missed_schedule":
        return f"{dag} has not succeeded when it should have"
    if facts.kind == "blocked_publication":
        found = re.findall(r"^\s*- ([\w.]{1,120}):", facts.error, flags=re.MULTILINE)
        what = f": {cut(', '.join(found), 70)}" if found else ""
        return f"Publication blocked by {cut(facts.part or '', 40)}{what}"
    if facts.part is None:
        return f"Run of {dag} did not end in time"
    return f"Task {cut(facts.part, 60)} of {dag} failed"


def say_run_event(event: str, facts: RunFacts) -> str | None:
    """A change in the incident's life; None for one that is said alike of every incident."""
    name, standing = say_run_problem(facts), facts.standing
    if event == "updated":
        last_line = cut(printable_lines(facts.error or "(no error text)").strip().split("\n")[-1], 300)
        return f"Again, in run {cut(facts.run_id, 120)} ({_say_times(standing.incident_days)}): {last_line}"
    if event == "resolved":
        return f"{name}: it works again. {say_duration(standing)}"
    if event == "woken":
        return f"The snooze is over, and the problem remains: {name}"
    if event == "escalated":
        return name
    if event == "reopened":
        return f"It is back: {name}: {cut(facts.error, 300)}"
    return None


def _say_times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times in all"
