"""What is still to be said, a row a message and channel: queued with the decision, delivered later.

Everything here runs inside the caller's transaction, and all SQL on `alert_outbox` is here.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from alerts.channels.protocol import Channel, Posted

Kind = Literal["parent", "update", "reply"]
Status = Literal["pending", "sent", "rendered", "dropped"]
_ERROR_LIMIT = 500


@dataclass(frozen=True)
class QueuedMessage:
    """A row of the outbox. `payload` is JSON, `posted` of a parent: where it stands."""

    outbox_id: int
    key: str
    incident_id: str
    channel: str
    kind: Kind
    event: str
    status: Status
    payload: str
    target: str | None
    queued_at: dt.datetime
    attempts: int
    last_error: str | None
    posted: Posted

    @property
    def is_untried(self) -> bool:
        """Whether nobody can have read the message yet."""
        return self.status == "pending" and not self.attempts


def queue_parent(
    state: sqlite3.Connection,
    incident_id: str,
    channel: type[Channel],
    event: str,
    payload: dict[str, Any],
    *,
    target: str | None,
    not_before: str | None,
) -> None:
    """Put the current state of an incident's own message into the outbox.

    The first one is the parent. While that has not been tried, a newer state takes its place: whoever reads it first
    reads the newest. Afterwards it is edited (an update, which takes the place of one that was not sent yet); in a
    channel where nothing can be edited, replies alone tell what changes.
    """
    text = json.dumps(payload, ensure_ascii=False)
    parent = read_parent(state, incident_id, channel.name)
    if parent is None:
        key = f"{incident_id}:{channel.name}"
        _insert(state, incident_id, channel.name, "parent", event, text, key, target, not_before)
    elif parent.is_untried:
        # What has become critical waits no longer.
        state.execute(
            "update alert_outbox set payload = ?, not_before = ? where outbox_id = ?",
            (text, not_before, parent.outbox_id),
        )
    elif channel.can_edit:
        state.execute(
            """
            update alert_outbox set status = 'dropped', finished_at = ?
            where incident_id = ? and channel = ? and kind = 'update' and status = 'pending'
            """,
            (_now(), incident_id, channel.name),
        )
        newest = state.execute("select max(outbox_id) from alert_outbox").fetchone()[0]
        key = f"{incident_id}:{channel.name}:update:{newest + 1}"
        _insert(state, incident_id, channel.name, "update", event, text, key, target, not_before)


def queue_reply(
    state: sqlite3.Connection,
    incident_id: str,
    channel: type[Channel],
    event: str,
    payload: dict[str, Any],
    *,
    event_id: int,
    target: str | None,
    not_before: str | None,
) -> None:
    """Put a message about one event into the outbox: a reply in Slack's thread, a mail, a webhook call."""
    text = json.dumps(payload, ensure_ascii=False)
    key = f"{incident_id}:{channel.name}:{event_id}"
    _insert(state, incident_id, channel.name, "reply", event, text, key, target, not_before)


def _insert(
    state: sqlite3.Connection,
    incident_id: str,
    channel: str,
    kind: Kind,
    event: str,
    payload: str,
    key: str,
    target: str | None,
    not_before: str | None,
) -> None:
    state.execute(
        """
        insert into alert_outbox (
            idempotency_key, incident_id, channel, kind, event, status, payload, target, created_at, not_before
        ) values (?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?)
        on conflict (idempotency_key) do nothing
        """,
        (key, incident_id, channel, kind, event, payload, target, _now(), not_before),
    )


def drop_unsent(state: sqlite3.Connection, incident_id: str) -> bool:
    """Take back what was never tried; returns whether nothing about the incident was or may have been said.

    Should the problem come back, a channel that has heard nothing hears of it as of a new one.
    """
    state.execute(
        "delete from alert_outbox where incident_id = ? and status = 'pending' and not attempts", (incident_id,)
    )
    return state.execute("select 1 from alert_outbox where incident_id = ?", (incident_id,)).fetchone() is None


def read_parent(state: sqlite3.Connection, incident_id: str, channel: str) -> QueuedMessage | None:
    """An incident's first message in a channel."""
    row = state.execute(
        "select * from alert_outbox where incident_id = ? and channel = ? and kind = 'parent'", (incident_id, channel)
    ).fetchone()
    return _read(row) if row is not None else None


def is_announced(state: sqlite3.Connection, incident_id: str) -> bool:
    """Whether the incident has a message of its own, sent or waiting."""
    row = state.execute("select 1 from alert_outbox where incident_id = ? and kind = 'parent'", (incident_id,))
    return row.fetchone() is not None


def next_pending(state: sqlite3.Connection, after: int, *, now: str) -> QueuedMessage | None:
    """The next message that is due, in the order of queueing."""
    row = state.execute(
        """
        select * from alert_outbox
        where status = 'pending' and outbox_id > ? and coalesce(not_before, '') <= ?
        order by outbox_id limit 1
        """,
        (after, now),
    ).fetchone()
    return _read(row) if row is not None else None


def list_pending(state: sqlite3.Connection) -> list[QueuedMessage]:
    """All that waits, those held back by quiet hours included, oldest first."""
    rows = state.execute("select * from alert_outbox where status = 'pending' order by outbox_id")
    return [_read(row) for row in rows]


def count_pending(state: sqlite3.Connection) -> int:
    """How many messages wait, those held back by quiet hours included."""
    return int(state.execute("select count(*) from alert_outbox where status = 'pending'").fetchone()[0])


def shorten_holds(state: sqlite3.Connection, *, now: dt.datetime) -> None:
    """Let no message wait for more than a day: quiet hours are shorter, so a clock that was ahead has held it back.

    The hour at which it goes out stays.
    """
    day = dt.timedelta(days=1)
    rows = state.execute(
        "select outbox_id, not_before from alert_outbox where status = 'pending' and not_before > ?",
        ((now.astimezone(dt.UTC) + day).isoformat(timespec="seconds"),),
    ).fetchall()
    for row in rows:
        until = dt.datetime.fromisoformat(row["not_before"])
        until -= (until - now) // day * day
        state.execute(
            "update alert_outbox set not_before = ? where outbox_id = ?",
            (until.isoformat(timespec="seconds"), row["outbox_id"]),
        )


def note_attempt(state: sqlite3.Connection, message: QueuedMessage) -> bool:
    """Say before a message goes out that a copy of it may be out.

    Returns False when a newer state has taken its place since it was read: then that one must go out.
    """
    cursor = state.execute(
        """
        update alert_outbox set attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, ?)
        where outbox_id = ? and status = 'pending' and payload = ?
        """,
        (_now(), message.outbox_id, message.payload),
    )
    return cursor.rowcount == 1


def note_error(state: sqlite3.Connection, outbox_id: int, error: str) -> None:
    """Keep why a message could not be delivered."""
    state.execute("update alert_outbox set last_error = ? where outbox_id = ?", (error[:_ERROR_LIMIT], outbox_id))


def finish(state: sqlite3.Connection, outbox_ids: Iterable[int], *, status: Status, posted: Posted) -> None:
    """Mark messages as sent, rendered or dropped, and where they stand."""
    state.executemany(
        """
        update alert_outbox
        set status = ?, finished_at = ?, last_error = null, channel_id = ?, message_ts = ?
        where outbox_id = ?
        """,
        [(status, _now(), posted.channel_id, posted.message_id, outbox_id) for outbox_id in outbox_ids],
    )


def note_chart(state: sqlite3.Connection, outbox_id: int, posted: Posted) -> None:
    """Remember on the parent which uploaded chart it shows."""
    state.execute(
        "update alert_outbox set chart_id = ?, chart_hash = ? where outbox_id = ?",
        (posted.chart_id, posted.chart_hash, outbox_id),
    )


def _read(row: sqlite3.Row) -> QueuedMessage:
    return QueuedMessage(
        outbox_id=row["outbox_id"],
        key=row["idempotency_key"],
        incident_id=row["incident_id"],
        channel=row["channel"],
        kind=row["kind"],
        event=row["event"],
        status=row["status"],
        payload=row["payload"],
        target=row["target"],
        queued_at=dt.datetime.fromisoformat(row["created_at"]),
        attempts=row["attempts"],
        last_error=row["last_error"],
        posted=Posted(row["channel_id"], row["message_ts"], row["chart_id"], row["chart_hash"]),
    )


def _now() -> str:
    # The real clock, also where a check replays earlier days: a search for an earlier copy starts from here.
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
