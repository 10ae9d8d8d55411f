"""What the summary of a run says about alerts."""

from __future__ import annotations

from collections import Counter

from alerts.channels import outbox
from alerts.channels.available import choose_channels
from alerts.channels.folder import message_path
from alerts.incidents import store
from alerts.messages.describing import describe_incident
from alerts.messages.facts import KpiFacts
from alerts.messages.kpi_content import describe_briefly
from alerts.messages.plain import to_plain
from alerts.state import open_alerts
from foundation.settings import Settings, show_path


def tell_incidents(settings: Settings) -> dict[str, str]:
    """What the message of each announced incident says now, in brief, by the incident's id."""
    with open_alerts(settings) as state:
        ids = [each.incident_id for each in store.read_incidents(state) if each.folded_into is None]
        # not what the outbox holds: its first message stays as it was sent
        found = {each: store.read_facts(state, each) for each in ids if outbox.is_announced(state, each)}
    return {
        incident_id: to_plain(describe_briefly(facts) if isinstance(facts, KpiFacts) else describe_incident(facts))
        for incident_id, facts in found.items()
        if facts is not None
    }


def summarise_alerts(settings: Settings) -> list[str]:
    """The incidents, oldest first, and whether they were sent; what was only rendered is told in full."""
    channel = choose_channels(settings)[0].name
    with open_alerts(settings) as state:
        incidents = [each for each in store.read_incidents(state) if each.folded_into is None and each.incident_days]
        parents = {each.incident_id: outbox.read_parent(state, each.incident_id, channel) for each in incidents}
        members = {each.incident_id: len(store.read_members(state, each.incident_id)) for each in incidents}
        waiting = Counter((message.channel, message.last_error) for message in outbox.list_pending(state))
    lines = [f"ALERTS  {len(incidents)} incidents"]
    lines += [
        f"  {count} messages wait for {name}: {error}" for (name, error), count in waiting.items() if error is not None
    ]
    is_any_rendered = False
    for each in sorted(incidents, key=lambda each: (each.first_seen_date, each.incident_id)):
        parent, count = parents[each.incident_id], members[each.incident_id]
        delivery = parent.status if parent is not None else "not sent here"
        folded = f", with {count} more of the same cause" if count else ""
        lines.append(
            f"  {each.title} {each.first_seen_date} to {each.last_seen_date}, {each.status}{folded} ({delivery})"
        )
        message = message_path(settings, each.incident_id)
        if delivery == "rendered" and message.exists():
            lines += [f"    | {line}" for line in message.read_text(encoding="utf-8").splitlines()]
            lines.append(f"    whole message and chart: {show_path(message.parent)}")
        is_any_rendered |= delivery == "rendered"
    if is_any_rendered:
        lines.append(
            "  No Slack token is set: messages were rendered, not posted. README.md says how to connect Slack."
        )
    return lines
