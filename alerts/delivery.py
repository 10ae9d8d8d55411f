"""Drains the outbox: renders each message into a folder of its own, and posts it where Slack is configured."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerts.facts import IncidentFacts, ResolutionFacts, TaskFailureFacts
from alerts.incidents import create_tables
from alerts.message import TEXT_LIMIT, Message, escape_code, render_incident, render_resolution, render_task_failure
from alerts.redaction import redact
from alerts.slack import (
    AlertDeliveryError,
    MessageRefusedError,
    Posted,
    SlackRejectedError,
    SlackSender,
    SlackUnavailableError,
)
from warehouse.settings import Settings
from warehouse.state import open_state

log = logging.getLogger(__name__)

# A fresh upload takes Slack a moment before a message may show it.
_IMAGE_ATTEMPTS = 4


@dataclass(frozen=True)
class Delivery:
    """How many messages of the outbox were sent, were rendered only, and are still pending."""

    sent: int
    rendered: int
    pending: int


def make_sender(settings: Settings) -> SlackSender | None:
    """The sender the settings ask for; None without a token. Raises `SlackRejectedError` without a channel."""
    if settings.slack_token is None:
        return None
    if settings.slack_channel is None:
        raise SlackRejectedError(
            "FUNNELHOUSE_SLACK_TOKEN is set but FUNNELHOUSE_SLACK_CHANNEL is not: set it to the channel's id (C…)"
        )
    return SlackSender(token=settings.slack_token, channel=settings.slack_channel, base_url=settings.slack_base_url)


def message_dir(settings: Settings, incident_id: str) -> Path:
    """Where the messages and the chart of an incident are stored."""
    return settings.alerts_dir / incident_id


def message_path(settings: Settings, incident_id: str, kind: str) -> Path:
    """The text of a message; the JSON as Slack gets it lies beside it."""
    name = "resolution" if kind == "resolution" else "message"
    return message_dir(settings, incident_id) / f"{name}.txt"


def deliver_outbox(settings: Settings, *, sender: SlackSender | None = None) -> Delivery:
    """Deliver every pending message, oldest first, each at least once.

    Without a Slack token messages are rendered into `settings.alerts_dir` and stay `rendered` for good, so that a
    token configured later does not flood the channel. Raises `AlertDeliveryError` when a message could not be sent;
    those behind it have been tried unless Slack refuses all alike.
    """
    problems: list[AlertDeliveryError] = []
    sent = rendered = 0
    with _hold_delivery_lock(settings):
        after = 0
        while (row := _next_pending(settings, after)) is not None:
            after = int(row["outbox_id"])
            message, chart = _render(settings, row)
            try:
                sender = sender or make_sender(settings)
                parent = _read_parent(settings, row)
                if sender is not None and parent is not None and parent["status"] == "pending":
                    continue  # the end of an incident waits for its beginning
                if sender is None or (parent is not None and parent["status"] == "rendered"):
                    _finish(settings, row, status="rendered", posted=None)
                    rendered += 1
                    continue
                posted = _send(settings, sender, row, message, chart, parent)
            except AlertDeliveryError as error:
                _note_error(settings, row, str(error))
                problems.append(error)
                if isinstance(error, SlackRejectedError):
                    break
                continue
            _finish(settings, row, status="sent", posted=posted)
            sent += 1
        pending = _count_pending(settings)
    if problems:
        kind = type(problems[0])
        raise kind(f"{pending} alert message(s) kept in the outbox, {sent} sent: {problems[0]}")
    return Delivery(sent, rendered, pending)


def _send(
    settings: Settings,
    sender: SlackSender,
    row: sqlite3.Row,
    message: Message,
    chart: Path | None,
    parent: sqlite3.Row | None,
) -> Posted:
    key, since = str(row["idempotency_key"]), dt.datetime.fromisoformat(row["created_at"]).timestamp()
    thread = Posted(parent["channel_id"], parent["message_ts"], was_there=True) if parent is not None else None
    if row["attempts"] and (found := sender.find(key, since=since, thread=thread)):
        log.info("message %s was already there", key)
        return found
    alt_text = f"Chart: {message.plain.splitlines()[0]}"
    file_id = sender.upload_chart(chart, title=alt_text[:200]) if chart is not None else None

    # Best first; what Slack refuses gives way to the next, for the message matters more than its looks.
    variants: list[tuple[str, list[dict[str, Any]] | None]] = [("without its layout", None)]
    variants.insert(0, ("without its chart", message.blocks))
    if file_id is not None:
        variants[:0] = [("with its chart", message.with_image(file_id, alt_text))] * _IMAGE_ATTEMPTS
    _note_attempt(settings, row)
    refusal: MessageRefusedError | None = None
    for number, (name, blocks) in enumerate(variants):
        if refusal is not None and name == "with its chart":
            sender.wait(number)
        text = message.text if blocks is not None else escape_code(message.plain, TEXT_LIMIT)
        try:
            posted = sender.post(text=text, blocks=blocks, key=key, since=since, thread=thread)
        except MessageRefusedError as error:
            log.warning("Slack refused message %s %s: %s", key, name, error)
            refusal = error
            continue
        if file_id is not None and chart is not None and name != "with its chart" and not posted.was_there:
            sender.upload_chart(chart, title=alt_text[:200], thread=posted)
        return posted
    assert refusal is not None
    raise refusal


def _render(settings: Settings, row: sqlite3.Row) -> tuple[Message, Path | None]:
    """Write the message's files; the chart only for incidents, and None when it cannot be drawn."""
    payload = json.loads(row["payload"])
    folder = message_dir(settings, row["incident_id"])
    folder.mkdir(parents=True, exist_ok=True)
    chart: Path | None = None
    if row["kind"] == "incident":
        facts = IncidentFacts.from_dict(payload)
        message = render_incident(facts)
        chart = _draw(facts, folder / "chart.png")
    elif row["kind"] == "resolution":
        message = render_resolution(ResolutionFacts(**payload))
    else:
        message = render_task_failure(TaskFailureFacts(**payload))
    text_path = message_path(settings, row["incident_id"], row["kind"])
    _write(text_path, (message.plain + "\n").encode())
    body = {"text": message.text, "blocks": message.blocks}
    _write(text_path.with_suffix(".json"), json.dumps(body, indent=1, ensure_ascii=False).encode())
    return message, chart


def _draw(facts: IncidentFacts, path: Path) -> Path | None:
    try:
        from alerts.chart import draw_incident

        _write(path, draw_incident(facts))
    except Exception:
        # Whatever fails in two drawing libraries must not hold back the message.
        log.exception("the chart of incident %s could not be drawn; the message goes without it", facts.incident_id)
        return None
    return path


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _next_pending(settings: Settings, after: int) -> sqlite3.Row | None:
    with open_state(settings) as state:
        create_tables(state)
        row: sqlite3.Row | None = state.execute(
            "select * from alert_outbox where status = 'pending' and outbox_id > ? order by outbox_id limit 1", (after,)
        ).fetchone()
    return row


def _count_pending(settings: Settings) -> int:
    with open_state(settings) as state:
        return int(state.execute("select count(*) from alert_outbox where status = 'pending'").fetchone()[0])


def _read_parent(settings: Settings, row: sqlite3.Row) -> sqlite3.Row | None:
    """The outbox row of the message that this one replies to; None when it is no reply."""
    if row["kind"] != "resolution":
        return None
    with open_state(settings) as state:
        parent: sqlite3.Row | None = state.execute(
            "select * from alert_outbox where incident_id = ? and kind = 'incident'", (row["incident_id"],)
        ).fetchone()
    return parent


def _note_attempt(settings: Settings, row: sqlite3.Row) -> None:
    # Recorded before the post: a process that dies after it leaves the trace that a copy may be in the channel.
    with open_state(settings) as state:
        state.execute(
            """
            update alert_outbox set attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, ?)
            where outbox_id = ?
            """,
            (_now(), row["outbox_id"]),
        )


def _note_error(settings: Settings, row: sqlite3.Row, error: str) -> None:
    with open_state(settings) as state:
        state.execute(
            "update alert_outbox set last_error = ? where outbox_id = ?",
            (redact(error, settings.slack_token)[:500], row["outbox_id"]),
        )


def _finish(settings: Settings, row: sqlite3.Row, *, status: str, posted: Posted | None) -> None:
    with open_state(settings) as state:
        state.execute(
            """
            update alert_outbox
            set status = ?, finished_at = ?, last_error = null, channel_id = ?, message_ts = ?
            where outbox_id = ?
            """,
            (
                status,
                _now(),
                posted.channel_id if posted else None,
                posted.message_ts if posted else None,
                row["outbox_id"],
            ),
        )


@contextmanager
def _hold_delivery_lock(settings: Settings, *, wait_seconds: float = 300) -> Iterator[None]:
    """One deliverer at a time, or two would post the same message; the kernel frees the lock of a killed one."""
    settings.alerts_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with (settings.alerts_dir / ".delivery.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SlackUnavailableError(
                        f"another process has been delivering alerts for over {wait_seconds:g} s"
                    ) from None
                time.sleep(0.1)
        yield


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
