"""Drains the outbox: renders each message into the incident's folder, and sends it where a channel is configured."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerts.channels import outbox
from alerts.channels.errors import (
    AlertDeliveryError,
    ChannelRejectedError,
    ChannelUnavailableError,
    MessageGoneError,
    MessageRefusedError,
)
from alerts.channels.mail import CHART_CID, compose_mail, send_mail
from alerts.channels.redaction import redact, secrets_of
from alerts.channels.slack import Posted, SlackSender
from alerts.channels.webhook import post_event
from alerts.incidents.store import create_tables
from alerts.messages.chart import describe_chart, draw_incident
from alerts.messages.content import (
    TEXT_LIMIT,
    Content,
    Message,
    describe_event,
    describe_incident,
    render_event,
    render_incident,
    to_plain,
)
from alerts.messages.facts import EventFacts, IncidentFacts
from alerts.messages.page import render_page
from alerts.text import escape_code
from foundation.settings import Settings
from foundation.state import open_state

log = logging.getLogger(__name__)

# A fresh upload takes Slack a moment before a message may show it.
_IMAGE_ATTEMPTS = 4


@dataclass(frozen=True)
class Delivery:
    """How many messages of the outbox were sent, were rendered only, and are still pending."""

    sent: int
    rendered: int
    pending: int


@dataclass(frozen=True)
class Rendered:
    """One message in all its forms. `chart` is None where there is none; `chart_hash` identifies what it shows."""

    message: Message
    content: Content
    facts: IncidentFacts
    chart: Path | None
    chart_hash: str | None


def make_sender(settings: Settings, channel: str | None = None) -> SlackSender | None:
    """The sender the settings ask for; None without a token. Raises `ChannelRejectedError` without a channel."""
    if settings.slack_token is None:
        return None
    chosen = channel or settings.slack_channel
    if chosen is None:
        raise ChannelRejectedError(
            "FUNNELHOUSE_SLACK_TOKEN is set but FUNNELHOUSE_SLACK_CHANNEL is not: set it to the channel's id (C…)"
        )
    return SlackSender(token=settings.slack_token, channel=chosen, base_url=settings.slack_base_url)


def configured_channels(settings: Settings) -> list[outbox.Channel]:
    """Where messages are queued for. Slack's are queued without a token too: they are rendered into files then."""
    channels: list[outbox.Channel] = ["slack"]
    if settings.alert_email_to:
        channels.append("email")
    if settings.alert_webhook_url:
        channels.append("webhook")
    return channels


def message_dir(settings: Settings, incident_id: str) -> Path:
    """Where the messages and the chart of an incident are stored."""
    return settings.alerts_dir / incident_id


def message_path(settings: Settings, incident_id: str) -> Path:
    """The incident's own message as text; as JSON and as a page it lies beside it."""
    return message_dir(settings, incident_id) / "message.txt"


def deliver_outbox(settings: Settings, *, sender: SlackSender | None = None) -> Delivery:
    """Deliver every message that is due, oldest first, each at least once.

    Without a Slack token messages are rendered into `settings.alerts_dir` and stay `rendered` for good, so that a
    token configured later does not flood the channel. A channel that fails holds back no other. Raises
    `AlertDeliveryError` when a message could not be sent; those behind it have been tried unless its channel refuses
    all alike.
    """
    problems: list[AlertDeliveryError] = []
    sent = rendered = 0
    closed_channels: set[str] = set()
    with _hold_delivery_lock(settings):
        drain = _Drain(settings, sender)
        after = 0
        while (row := _next_pending(settings, after)) is not None:
            after = int(row["outbox_id"])
            if row["channel"] in closed_channels:
                continue
            try:
                outcome = drain.deliver(row)
            except MessageGoneError as error:
                log.warning("message %s is dropped: %s", row["idempotency_key"], error)
                with open_state(settings) as state:
                    outbox.note_error(state, row["outbox_id"], str(error))
                    outbox.finish(state, [row["outbox_id"]], status="dropped")
                continue
            except AlertDeliveryError as error:
                with open_state(settings) as state:
                    outbox.note_error(state, row["outbox_id"], redact(str(error), *secrets_of(settings)))
                problems.append(error)
                if isinstance(error, ChannelRejectedError):
                    closed_channels.add(row["channel"])
                continue
            if outcome == "changed":
                after -= 1
            sent += outcome == "sent"
            rendered += outcome == "rendered"
        with open_state(settings) as state:
            pending = outbox.count_pending(state)
    if problems:
        kind = type(problems[0])
        raise kind(f"{pending} alert message(s) kept in the outbox, {sent} sent: {problems[0]}")
    return Delivery(sent, rendered, pending)


class _Drain:
    """One pass over the outbox; keeps the Slack senders by channel."""

    def __init__(self, settings: Settings, sender: SlackSender | None) -> None:
        self._settings = settings
        self._given_sender = sender
        self._senders: dict[str | None, SlackSender | None] = {}

    def deliver(self, row: sqlite3.Row) -> str:
        """Deliver one row; returns sent, rendered, waiting or changed. Raises `AlertDeliveryError`."""
        parent = self._read_parent(row)
        rendered = _render(self._settings, row)
        sender = self._sender(row) if row["channel"] == "slack" else None
        if parent is not None and parent["status"] == "pending":
            return "waiting"  # what happened to an incident waits for its beginning
        if parent is not None and parent["status"] == "dropped":
            raise MessageGoneError("the incident's own message was dropped")
        is_rendered_only = row["channel"] == "slack" and (
            sender is None or (parent is not None and parent["status"] == "rendered")
        )
        thread = _thread_of(parent)
        if sender is not None and not is_rendered_only and (found := _find_earlier_copy(sender, row, thread)):
            self._finish(row, rendered, status="sent", posted=found)
            return "sent"
        chart_id = None
        if sender is not None and not is_rendered_only:
            chart_id = _prepare_chart(sender, row, rendered, parent)
        with open_state(self._settings) as state:
            if not outbox.note_attempt(state, row):
                return "changed"
        if is_rendered_only:
            self._finish(row, rendered, status="rendered")
            return "rendered"
        posted = None
        if sender is not None:
            posted, chart_id = _send_to_slack(sender, row, rendered, thread, chart_id)
        elif row["channel"] == "email":
            self._mail(row, rendered)
        else:
            self._call_webhook(row, rendered)
        self._finish(row, rendered, status="sent", posted=posted, chart_id=chart_id, parent=parent)
        return "sent"

    def _sender(self, row: sqlite3.Row) -> SlackSender | None:
        if self._given_sender is not None:
            return self._given_sender
        if row["target"] not in self._senders:
            self._senders[row["target"]] = make_sender(self._settings, row["target"])
        return self._senders[row["target"]]

    def _mail(self, row: sqlite3.Row, rendered: Rendered) -> None:
        facts, content = rendered.facts, rendered.content
        whole = describe_incident(facts)
        mail = compose_mail(
            self._settings,
            subject=content.headline,
            plain=to_plain(whole) if row["kind"] == "parent" else f"{content.headline}\n\n{to_plain(whole)}",
            html=render_page(
                whole,
                chart_src=f"cid:{CHART_CID}" if rendered.chart is not None else None,
                news=None if row["kind"] == "parent" else content.headline,
            ),
            chart=rendered.chart,
            key=row["idempotency_key"],
            thread_key=f"{row['incident_id']}:email",
        )
        send_mail(self._settings, mail)

    def _call_webhook(self, row: sqlite3.Row, rendered: Rendered) -> None:
        payload = {
            "event": row["event"],
            "incident_id": row["incident_id"],
            "text": rendered.content.headline,
            "incident": {**rendered.facts.to_dict(), "points": []},
        }
        post_event(self._settings, payload, key=row["idempotency_key"])

    def _read_parent(self, row: sqlite3.Row) -> sqlite3.Row | None:
        """The row of the message that this one changes or replies to; None when it is the first."""
        if row["kind"] == "parent":
            return None
        with open_state(self._settings) as state:
            return outbox.read_parent(state, row["incident_id"], row["channel"])

    def _finish(
        self,
        row: sqlite3.Row,
        rendered: Rendered,
        *,
        status: str,
        posted: Posted | None = None,
        chart_id: str | None = None,
        parent: sqlite3.Row | None = None,
    ) -> None:
        with open_state(self._settings) as state:
            outbox.finish(
                state,
                [row["outbox_id"]],
                status=status,
                channel_id=posted.channel_id if posted else None,
                message_ts=posted.message_ts if posted else None,
            )
            if row["kind"] != "reply" and chart_id is not None:
                shown_by = parent["outbox_id"] if parent is not None else row["outbox_id"]
                outbox.note_chart(state, shown_by, chart_id=chart_id, chart_hash=rendered.chart_hash)


def _thread_of(parent: sqlite3.Row | None) -> Posted | None:
    if parent is None or parent["message_ts"] is None:
        return None
    return Posted(parent["channel_id"], parent["message_ts"], was_there=True)


def _find_earlier_copy(sender: SlackSender, row: sqlite3.Row, thread: Posted | None) -> Posted | None:
    """The message, where an earlier attempt got it to Slack without hearing so; an update may simply be repeated."""
    if not row["attempts"] or row["kind"] == "update":
        return None
    found = sender.find(row["idempotency_key"], since=_queued_at(row), thread=thread)
    if found is not None:
        log.info("message %s was already there", row["idempotency_key"])
    return found


def _prepare_chart(sender: SlackSender, row: sqlite3.Row, rendered: Rendered, parent: sqlite3.Row | None) -> str | None:
    """The id of the uploaded chart that the message shows; uploaded only where it has changed."""
    if rendered.chart is None or row["kind"] == "reply":
        return None
    before = parent["chart_id"] if parent is not None else None
    if parent is not None and before and parent["chart_hash"] == rendered.chart_hash:
        return str(before)
    # Better the chart of the day before than none.
    return sender.upload_chart(rendered.chart, title=_alt_text(rendered)[:200]) or before


def _send_to_slack(
    sender: SlackSender, row: sqlite3.Row, rendered: Rendered, thread: Posted | None, chart_id: str | None
) -> tuple[Posted, str | None]:
    """Post or update; returns where the message stands and which uploaded chart it shows."""
    key, alt_text = str(row["idempotency_key"]), _alt_text(rendered)
    is_update = row["kind"] == "update"

    def send(text: str, blocks: list[dict[str, Any]] | None) -> Posted:
        if is_update:
            assert thread is not None
            return sender.update(thread, text=text, blocks=blocks)
        return sender.post(text=text, blocks=blocks, key=key, since=_queued_at(row), thread=thread)

    posted, is_shown = _send_best(sender, send, rendered.message, chart_id, alt_text, key)
    if chart_id is not None and rendered.chart is not None and not is_shown and not is_update and not posted.was_there:
        sender.upload_chart(rendered.chart, title=alt_text[:200], thread=posted)
    return posted, chart_id if is_shown else None


def _queued_at(row: sqlite3.Row) -> float:
    return dt.datetime.fromisoformat(row["created_at"]).timestamp()


def _alt_text(rendered: Rendered) -> str:
    return f"Chart: {rendered.message.plain.splitlines()[0]}"


def _send_best(
    sender: SlackSender,
    send: Callable[[str, list[dict[str, Any]] | None], Posted],
    message: Message,
    chart_id: str | None,
    alt_text: str,
    key: str,
) -> tuple[Posted, bool]:
    """Send the best form that Slack accepts; returns it and whether it shows the chart."""
    # What Slack refuses gives way to the next, for the message matters more than its looks.
    variants: list[tuple[str, list[dict[str, Any]] | None]] = [
        ("without its chart", message.blocks),
        ("without its layout", None),
    ]
    if chart_id is not None:
        variants[:0] = [("with its chart", message.with_image(chart_id, alt_text))] * _IMAGE_ATTEMPTS
    refusal: MessageRefusedError | None = None
    for number, (name, blocks) in enumerate(variants):
        if refusal is not None and name == "with its chart":
            sender.wait(number)
        text = message.text if blocks is not None else escape_code(message.plain, TEXT_LIMIT)
        try:
            return send(text, blocks), name == "with its chart"
        except MessageRefusedError as error:
            log.warning("Slack refused message %s %s: %s", key, name, error)
            refusal = error
    assert refusal is not None
    raise refusal


def _render(settings: Settings, row: sqlite3.Row) -> Rendered:
    """Write the message's files, so that they are there whatever becomes of the sending."""
    payload = json.loads(row["payload"])
    folder = message_dir(settings, row["incident_id"])
    folder.mkdir(parents=True, exist_ok=True)
    if row["kind"] == "reply":
        event = EventFacts.from_dict(payload)
        message = render_event(event)
        _write(folder / f"reply-{row['outbox_id']:05d}-{row['event']}.txt", (message.plain + "\n").encode())
        chart = folder / "chart.png"
        # A mail about a change shows the chart of the incident's own message.
        has_chart = row["channel"] == "email" and chart.exists()
        return Rendered(message, describe_event(event), event.facts, chart if has_chart else None, None)
    facts = IncidentFacts.from_dict(payload)
    message = render_incident(facts, with_buttons=settings.slack_signing_secret is not None)
    content = describe_incident(facts)
    drawn, chart_hash = _draw(facts, folder) if facts.points else (None, None)
    path = message_path(settings, row["incident_id"])
    _write(path, (message.plain + "\n").encode())
    body = {"text": message.text, "blocks": message.blocks}
    _write(path.with_suffix(".json"), json.dumps(body, indent=1, ensure_ascii=False).encode())
    page = render_page(content, chart_src=drawn.name if drawn is not None else None, news=None)
    _write(path.with_suffix(".html"), page.encode())
    return Rendered(message, content, facts, drawn, chart_hash)


def _draw(facts: IncidentFacts, folder: Path) -> tuple[Path | None, str | None]:
    """The chart's file, drawn only where it would differ from the one that is there; None when it cannot be drawn."""
    path, mark = folder / "chart.png", folder / ".chart"
    try:
        chart_hash = hashlib.sha256(json.dumps(describe_chart(facts)).encode()).hexdigest()
        if not path.exists() or not mark.exists() or mark.read_text(encoding="utf-8") != chart_hash:
            mark.unlink(missing_ok=True)
            _write(path, draw_incident(facts))
            _write(mark, chart_hash.encode())
    except Exception:
        # Whatever fails in a drawing library must not hold back the message.
        log.exception("the chart of incident %s could not be drawn; the message goes without it", facts.incident_id)
        return None, None
    return path, chart_hash


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _next_pending(settings: Settings, after: int) -> sqlite3.Row | None:
    with open_state(settings) as state:
        create_tables(state)
        outbox.create_table(state)
        return outbox.next_pending(state, after, now=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))


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
                    raise ChannelUnavailableError(
                        f"another process has been delivering alerts for over {wait_seconds:g} s"
                    ) from None
                time.sleep(0.1)
        yield
