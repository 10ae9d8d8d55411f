"""Lays a message out as plain text, for a terminal and for mail programs without HTML."""

from __future__ import annotations

from alerts.messages.content import Content
from alerts.text import cut, cut_lines


def to_plain(content: Content) -> str:
    """The whole message."""
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
