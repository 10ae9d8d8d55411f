"""Lays a message out in Slack's blocks, within Slack's limits whatever the data."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from alerts.messages.content import Content
from alerts.messages.describing import describe_event, describe_incident
from alerts.messages.facts import EventFacts, Facts, KpiFacts
from alerts.messages.kpi_content import describe_briefly
from alerts.messages.plain import as_make_command, to_plain
from alerts.text import LINK_LIMIT, cut, escape, escape_code, escape_name, measure, one_line, quote_url

# https://docs.slack.dev/reference/block-kit/blocks ; the sum over all blocks is refused from about 13,200 on.
HEADER_LIMIT = 150
ALT_TEXT_LIMIT = 2_000
TEXT_LIMIT = 4_000
LINES_LIMIT = 2_400

BUTTONS = (
    ("acknowledge", "Acknowledge", None),
    ("snooze_1", "Snooze 1 day", None),
    ("snooze_7", "Snooze 7 days", None),
    ("expected", "Expected", "No alert for these days, and no baseline will use them."),
)


@dataclass(frozen=True)
class Message:
    """`text` is the notification, `plain` the whole message for a terminal, `blocks` what Slack lays out."""

    text: str
    plain: str
    blocks: list[dict[str, Any]]

    def with_image(self, file_id: str, alt_text: str) -> list[dict[str, Any]]:
        """The blocks with an uploaded chart below the text, above the buttons."""
        image = {"type": "image", "slack_file": {"id": file_id}, "alt_text": cut(alt_text, ALT_TEXT_LIMIT)}
        ends = ("actions", "context")
        place = next((index for index, block in enumerate(self.blocks) if block["type"] in ends), len(self.blocks))
        return [*self.blocks[:place], image, *self.blocks[place:]]


def render_incident(facts: Facts, *, with_buttons: bool = False) -> Message:
    """An incident's own message for Slack, to be read in five seconds; `plain` is all that is known."""
    content = describe_incident(facts)
    buttons_for = facts.incident_id if with_buttons and not facts.standing.is_over else None
    if not isinstance(facts, KpiFacts):
        return _to_slack(content, buttons_for)
    return replace(_to_slack(describe_briefly(facts), buttons_for), plain=to_plain(content))


def render_details(facts: KpiFacts) -> Message:
    """What the incident's own message has no room for: the first reply in its thread."""
    content = describe_incident(facts)
    details = _to_slack(replace(content, headline="Details"), None)
    return replace(details, text="Details", blocks=details.blocks[1:])


def render_event(event: EventFacts) -> Message:
    """The reply in an incident's thread."""
    content = describe_event(event)
    called = f"{mention(event.mention)} " if event.mention else ""
    text = escape(content.headline, 1_200)
    blocks = [_section(called + _mention_people(text, content.people)), _context(content.context)]
    plain = f"{event.mention} " if event.mention else ""
    notification = _mention_people(escape(content.headline, 600), content.people)
    return Message(called + notification, f"{plain}{content.headline}", blocks)


def _to_slack(content: Content, buttons_for: str | None) -> Message:
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(content.headline, HEADER_LIMIT), "emoji": True}},
    ]
    if content.description:
        blocks.append(_section(escape(content.description, 600)))
    if content.error:
        blocks.append(_section(f"```{escape_code(content.error, 1_800)}```"))
    if content.fields:
        texts = [
            f"*{escape(name, 80)}*\n{_mention_people(escape(value, 200), content.people)}"
            for name, value in content.fields
        ]
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


def _mention_people(escaped: str, people: frozenset[str]) -> str:
    """Call those who have answered, where a text says what was done by them."""

    def call(match: re.Match[str]) -> str:
        return f"<@{match[0]}>" if match[0] in people else match[0]

    return re.sub(r"(?<=by )U[A-Z0-9]{8,20}\b", call, escaped)


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [_mrkdwn(escape(one_line(text), 800))]}


def _link(target: str, label: str) -> str:
    url = quote_url(target)
    if url is not None and measure(url.replace("&", "&amp;")) <= LINK_LIMIT:
        return f"<{url.replace('&', '&amp;')}|{label}>"
    return f"`{escape_code(cut(target, 300), 300)}`"
