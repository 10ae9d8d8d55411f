"""Renders messages into files: text, Slack's JSON, an HTML page, the chart."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, Self

from alerts.channels.protocol import Channel, Outgoing, Posted
from alerts.messages.block_kit import render_event, render_incident
from alerts.messages.chart import describe_chart, draw_incident
from alerts.messages.describing import describe_incident
from alerts.messages.facts import Facts, KpiFacts, WeekFacts
from alerts.messages.page import render_page
from alerts.messages.week_chart import describe_week_chart, draw_week
from foundation.settings import Settings

log = logging.getLogger(__name__)


class Folder(Channel):
    """Takes the messages of a channel that is not configured; every other message is written here too, before it goes.

    What is rendered stays so for good: a channel that is configured later is not flooded with it.
    """

    name: ClassVar[str] = "folder"
    outcome: ClassVar[Literal["sent", "rendered"]] = "rendered"
    can_edit: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return False

    @classmethod
    def connect(cls, settings: Settings, target: str | None) -> Self:
        return cls(settings)

    def write(self, message: Outgoing) -> Outgoing:
        """Write the files of a message; returns it with its chart."""
        folder = message_dir(self._settings, message.incident_id)
        folder.mkdir(parents=True, exist_ok=True)
        if message.news is not None:
            text = render_event(message.news).plain
            _write(folder / f"reply-{message.number:05d}-{message.event}.txt", (text + "\n").encode())
            drawn = folder / "chart.png"
            # what a reply can show is the chart of the incident's own message
            return replace(message, chart=drawn if drawn.exists() else None)
        facts = message.facts
        chart, chart_hash = _draw(facts, folder)
        path = message_path(self._settings, message.incident_id)
        shown = render_incident(facts, with_buttons=self._settings.slack_signing_secret is not None)
        _write(path, (shown.plain + "\n").encode())
        body = {"text": shown.text, "blocks": shown.blocks}
        _write(path.with_suffix(".json"), json.dumps(body, indent=1, ensure_ascii=False).encode())
        page = render_page(describe_incident(facts), chart_src=chart.name if chart is not None else None, news=None)
        _write(path.with_suffix(".html"), page.encode())
        return replace(message, chart=chart, chart_hash=chart_hash)

    def send(self, message: Outgoing) -> Posted:
        self.write(message)
        return Posted()

    def reply(self, message: Outgoing, parent: Posted) -> Posted:
        self.write(message)
        return Posted()

    def edit(self, message: Outgoing, parent: Posted) -> Posted:
        self.write(message)
        return Posted()


def message_dir(settings: Settings, incident_id: str) -> Path:
    """Where the messages and the chart of an incident are stored."""
    return settings.alerts_dir / incident_id


def message_path(settings: Settings, incident_id: str) -> Path:
    """The incident's own message as text; as JSON and as a page it lies beside it."""
    return message_dir(settings, incident_id) / "message.txt"


def _draw(facts: Facts, folder: Path) -> tuple[Path | None, str | None]:
    """The chart's file, drawn only where it would differ from the one that is there; None when it cannot be drawn, and
    where there is nothing to draw."""
    path, mark = folder / "chart.png", folder / ".chart"
    try:
        if isinstance(facts, WeekFacts):
            chart, draw = describe_week_chart(facts), partial(draw_week, facts)
        elif isinstance(facts, KpiFacts) and facts.points:
            chart, draw = describe_chart(facts), partial(draw_incident, facts)
        else:
            return None, None
        chart_hash = hashlib.sha256(json.dumps(chart).encode()).hexdigest()
        if not path.exists() or not mark.exists() or mark.read_text(encoding="utf-8") != chart_hash:
            mark.unlink(missing_ok=True)
            _write(path, draw())
            _write(mark, chart_hash.encode())
    except Exception:
        # Whatever fails in a drawing library must not hold back the message.
        log.exception("the chart of incident %s could not be drawn; the message is sent without it", facts.incident_id)
        return None, None
    return path, chart_hash


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


CHANNEL = Folder
