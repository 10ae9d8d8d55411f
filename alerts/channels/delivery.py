"""Drains the outbox: writes each message's files, and hands it to its channel."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from alerts.channels import outbox
from alerts.channels.available import find_channel
from alerts.channels.errors import (
    AlertDeliveryError,
    ChannelFailedError,
    ChannelRejectedError,
    ChannelUnavailableError,
    MessageGoneError,
)
from alerts.channels.folder import Folder
from alerts.channels.outbox import QueuedMessage
from alerts.channels.protocol import Channel, Outgoing, Posted
from alerts.channels.redaction import redact, secrets_of
from alerts.messages.facts import event_from_json_values, from_json_values
from alerts.state import open_alerts
from foundation.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """How many messages of the outbox were sent, were rendered only, and are still pending."""

    sent: int
    rendered: int
    pending: int


@dataclass(frozen=True)
class Drained:
    """What a pass over the outbox did. `problems`: the first one of each channel that had one; `worked`: the others."""

    delivery: Delivery
    problems: dict[str, AlertDeliveryError]
    worked: set[str]


def drain_outbox(
    settings: Settings,
    *,
    instead: Channel | None = None,
    known_problems: Mapping[str, AlertDeliveryError] | None = None,
) -> Drained:
    """Try every message that is due, oldest first; each goes out at least once.

    What is queued for a channel that is not configured is rendered into `settings.alerts_dir` and stays `rendered` for
    good. A channel that fails holds back no other; one that refuses all alike is asked once, and not at all if that is
    known. `instead` is used in the place of the channel of its name.
    """
    problems = dict(known_problems or {})
    worked: set[str] = set()
    done = {"sent": 0, "rendered": 0}
    with _hold_delivery_lock(settings):
        drain = _Drain(settings, instead)
        after = 0
        while (message := _next_pending(settings, after)) is not None:
            after = message.outbox_id
            if isinstance(problems.get(message.channel), ChannelRejectedError | ChannelFailedError):
                continue
            outcome = _deliver_one(settings, drain, message)
            if isinstance(outcome, AlertDeliveryError):
                problems.setdefault(message.channel, outcome)
            elif outcome == "changed":
                after -= 1
            elif outcome in done:
                done[outcome] += 1
                worked.add(message.channel)
        with open_alerts(settings) as state:
            pending = outbox.count_pending(state)
    return Drained(Delivery(done["sent"], done["rendered"], pending), problems, worked - set(problems))


def _deliver_one(settings: Settings, drain: _Drain, message: QueuedMessage) -> str | AlertDeliveryError:
    """What became of one message, or why it could not be sent."""
    try:
        return drain.deliver(message)
    except MessageGoneError as error:
        log.warning("message %s is dropped: %s", message.key, error)
        with open_alerts(settings) as state:
            outbox.finish(state, [message.outbox_id], status="dropped", posted=Posted())
        return "dropped"
    except AlertDeliveryError as error:
        problem = error
    except Exception as error:
        # Whatever fails in one channel is its own: the others go on. The text may hold a secret.
        said = redact(f"{type(error).__name__}: {error}", *secrets_of(settings))
        log.error("%s failed with message %s: %s", message.channel, message.key, said)
        problem = ChannelFailedError(f"{message.channel} failed: {said[:300]}")
    with open_alerts(settings) as state:
        outbox.note_error(state, message.outbox_id, redact(str(problem), *secrets_of(settings)))
    return problem


class _Drain:
    """One pass over the outbox; keeps the channels that it has opened."""

    def __init__(self, settings: Settings, instead: Channel | None) -> None:
        self._settings = settings
        self._instead = instead
        self._folder = Folder(settings)
        self._open: dict[tuple[str, str | None], Channel] = {}

    def deliver(self, queued: QueuedMessage) -> Literal["sent", "rendered", "waiting", "changed"]:
        """Deliver one message, or say why not. Raises `AlertDeliveryError`."""
        parent = self._read_parent(queued)
        # The files are there whatever becomes of the sending.
        message = self._folder.write(_compose(queued))
        if parent is not None and parent.status == "pending":
            return "waiting"  # what happened to an incident waits for its beginning
        if parent is not None and parent.status == "dropped":
            raise MessageGoneError("the incident's own message was dropped")
        # What nobody was told the beginning of goes on in the folder.
        is_rendered = parent is not None and parent.status == "rendered"
        channel = self._folder if is_rendered else self._choose(queued)
        place = parent.posted if parent is not None else None
        if queued.attempts and queued.kind != "update" and (found := channel.find(message, place)) is not None:
            self._finish(queued, parent, found, "sent")
            return "sent"
        with open_alerts(self._settings) as state:
            if not outbox.note_attempt(state, queued):
                return "changed"
        if place is None:
            posted = channel.send(message)
        elif queued.kind == "update":
            posted = channel.edit(message, place)
        else:
            posted = channel.reply(message, place)
        self._finish(queued, parent, posted, channel.outcome)
        return channel.outcome

    def _choose(self, queued: QueuedMessage) -> Channel:
        if self._instead is not None and self._instead.name == queued.channel:
            return self._instead
        key = (queued.channel, queued.target)
        if key not in self._open:
            kind = find_channel(queued.channel)
            is_there = kind is not None and kind.is_configured(self._settings)
            self._open[key] = kind.connect(self._settings, queued.target) if kind and is_there else self._folder
        return self._open[key]

    def _read_parent(self, queued: QueuedMessage) -> QueuedMessage | None:
        """The message that this one changes or replies to; None when it is the first."""
        if queued.kind == "parent":
            return None
        with open_alerts(self._settings) as state:
            return outbox.read_parent(state, queued.incident_id, queued.channel)

    def _finish(
        self, queued: QueuedMessage, parent: QueuedMessage | None, posted: Posted, status: outbox.Status
    ) -> None:
        with open_alerts(self._settings) as state:
            outbox.finish(state, [queued.outbox_id], status=status, posted=posted)
            if queued.kind != "reply" and posted.chart_id is not None:
                outbox.note_chart(state, parent.outbox_id if parent is not None else queued.outbox_id, posted)


def _compose(queued: QueuedMessage) -> Outgoing:
    payload = json.loads(queued.payload)
    news = event_from_json_values(payload) if queued.kind == "reply" else None
    return Outgoing(
        key=queued.key,
        number=queued.outbox_id,
        incident_id=queued.incident_id,
        event=queued.event,
        facts=news.facts if news is not None else from_json_values(payload),
        news=news,
        queued_at=queued.queued_at,
    )


def _next_pending(settings: Settings, after: int) -> QueuedMessage | None:
    with open_alerts(settings) as state:
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
