"""What is still to be said, a row a message and channel: queued with the decision, delivered later."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from collections.abc import Iterable
from typing import Any, Literal

Channel = Literal["slack", "email", "webhook"]

TABLE = """
    create table if not exists alert_outbox (
        outbox_id integer primary key,
        idempotency_key text not null unique,  -- one message per incident, event and channel, ever
        incident_id text not null references alert_incidents (incident_id),
        channel text not null,          -- slack, email, webhook
        kind text not null,             -- parent, update (of the parent), reply
        event text not null,            -- what happened; see alert_events
        status text not null,           -- pending, sent, rendered, dropped
        payload text not null,          -- JSON, enough to render the message without the warehouse
        target text,                    -- a Slack channel other than the default one
        created_at text not null,
        not_before text,                -- quiet hours end then
        attempts integer not null default 0,
        first_attempt_at text,
        last_error text,
        finished_at text,
        channel_id text,                -- of the parent: where it stands
        message_ts text,
        chart_id text,                  -- of the parent: the uploaded chart it shows
        chart_hash text
    )
"""


def create_table(state: sqlite3.Connection) -> None:
    """Create the outbox where it is missing."""
    state.execute(TABLE)
    state.execute("create index if not exists alert_outbox_by_incident on alert_outbox (incident_id, channel)")


def queue_parent(
    state: sqlite3.Connection,
    incident_id: str,
    channel: Channel,
    event: str,
    payload: dict[str, Any],
    *,
    target: str | None,
    not_before: str | None,
) -> None:
    """Put the current state of an incident's own message into the outbox.

    The first one is the parent. While that has not been tried, a newer state takes its place: whoever reads it first
    reads the newest. Afterwards Slack's is edited (an update, which takes the place of one that was not sent yet); in
    a channel where nothing can be edited, replies alone tell what changes.
    """
    text = json.dumps(payload, ensure_ascii=False)
    parent = read_parent(state, incident_id, channel)
    if parent is None:
        _insert(state, incident_id, channel, "parent", event, text, f"{incident_id}:{channel}", target, not_before)
    elif is_untried(parent):
        # What has become critical waits no longer.
        state.execute(
            "update alert_outbox set payload = ?, not_before = ? where outbox_id = ?",
            (text, not_before, parent["outbox_id"]),
        )
    elif channel == "slack":
        state.execute(
            """
            update alert_outbox set status = 'dropped', finished_at = ?
            where incident_id = ? and channel = ? and kind = 'update' and status = 'pending'
            """,
            (_now(), incident_id, channel),
        )
        newest = state.execute("select max(outbox_id) from alert_outbox").fetchone()[0]
        key = f"{incident_id}:{channel}:update:{newest + 1}"
        _insert(state, incident_id, channel, "update", event, text, key, target, not_before)


def is_untried(parent: sqlite3.Row) -> bool:
    """Whether nobody can have read the message yet."""
    return parent["status"] == "pending" and not parent["attempts"]


def queue_reply(
    state: sqlite3.Connection,
    incident_id: str,
    channel: Channel,
    event: str,
    payload: dict[str, Any],
    *,
    event_id: int,
    target: str | None,
    not_before: str | None,
) -> None:
    """Put a message about one event into the outbox: a reply in Slack's thread, a mail, a webhook call."""
    text = json.dumps(payload, ensure_ascii=False)
    key = f"{incident_id}:{channel}:{event_id}"
    _insert(state, incident_id, channel, "reply", event, text, key, target, not_before)


def _insert(
    state: sqlite3.Connection,
    incident_id: str,
    channel: str,
    kind: str,
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


def read_parent(state: sqlite3.Connection, incident_id: str, channel: str) -> sqlite3.Row | None:
    """The row of an incident's first message in a channel."""
    row: sqlite3.Row | None = state.execute(
        "select * from alert_outbox where incident_id = ? and channel = ? and kind = 'parent'", (incident_id, channel)
    ).fetchone()
    return row


def is_announced(state: sqlite3.Connection, incident_id: str) -> bool:
    """Whether the incident has a message of its own, sent or waiting."""
    row = state.execute("select 1 from alert_outbox where incident_id = ? and kind = 'parent'", (incident_id,))
    return row.fetchone() is not None


def next_pending(state: sqlite3.Connection, after: int, *, now: str) -> sqlite3.Row | None:
    """The next row that is due, in the order of queueing."""
    row: sqlite3.Row | None = state.execute(
        """
        select * from alert_outbox
        where status = 'pending' and outbox_id > ? and coalesce(not_before, '') <= ?
        order by outbox_id limit 1
        """,
        (after, now),
    ).fetchone()
    return row


def count_pending(state: sqlite3.Connection) -> int:
    """How many messages wait, those held back by quiet hours included."""
    return int(state.execute("select count(*) from alert_outbox where status = 'pending'").fetchone()[0])


def note_attempt(state: sqlite3.Connection, row: sqlite3.Row) -> bool:
    """Say before a message goes out that a copy of it may be out.

    Returns False when a newer state has taken the row's place since it was read: then that one must go out.
    """
    cursor = state.execute(
        """
        update alert_outbox set attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, ?)
        where outbox_id = ? and status = 'pending' and payload = ?
        """,
        (_now(), row["outbox_id"], row["payload"]),
    )
    return cursor.rowcount == 1


def note_error(state: sqlite3.Connection, outbox_id: int, error: str) -> None:
    """Keep why a message could not be delivered."""
    state.execute("update alert_outbox set last_error = ? where outbox_id = ?", (error[:500], outbox_id))


def finish(
    state: sqlite3.Connection,
    outbox_ids: Iterable[int],
    *,
    status: str,
    channel_id: str | None = None,
    message_ts: str | None = None,
) -> None:
    """Mark messages as sent or rendered."""
    state.executemany(
        """
        update alert_outbox
        set status = ?, finished_at = ?, last_error = null, channel_id = ?, message_ts = ?
        where outbox_id = ?
        """,
        [(status, _now(), channel_id, message_ts, outbox_id) for outbox_id in outbox_ids],
    )


def note_chart(state: sqlite3.Connection, outbox_id: int, *, chart_id: str | None, chart_hash: str | None) -> None:
    """Remember on the parent which uploaded chart it shows."""
    state.execute(
        "update alert_outbox set chart_id = ?, chart_hash = ? where outbox_id = ?", (chart_id, chart_hash, outbox_id)
    )


def _now() -> str:
    # The real clock, also where a check replays earlier days: a search for an earlier copy starts from here.
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
