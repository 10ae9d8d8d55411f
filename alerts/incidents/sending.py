"""Delivers the outbox, and tells through the other channels when one of them is broken."""

from __future__ import annotations

import datetime as dt

from alerts.channels.available import choose_channels, list_channels
from alerts.channels.delivery import Delivery, drain_outbox
from alerts.channels.errors import ChannelFailedError, ChannelRejectedError
from alerts.channels.protocol import Channel
from alerts.channels.redaction import redact, secrets_of
from alerts.incidents.problems import follow_states
from alerts.messages.facts import BROKEN_CHANNEL
from alerts.state import open_alerts
from foundation.settings import Settings


def deliver_outbox(settings: Settings, *, instead: Channel | None = None) -> Delivery:
    """Deliver every message that is due, oldest first, each at least once.

    A channel that refuses everything, or fails, is an incident of its own, which goes out through the others and ends
    with the first message that gets through. `instead` is used in the place of the channel of its name. Raises an
    `AlertDeliveryError` when a message could not be sent; all others have been tried.
    """
    first = drain_outbox(settings, instead=instead)
    broken = {
        channel: redact(str(error), *secrets_of(settings))
        for channel, error in first.problems.items()
        if isinstance(error, ChannelRejectedError | ChannelFailedError)
    }
    chosen = {channel.name for channel in choose_channels(settings)}
    unused = {channel.name for channel in list_channels()} - chosen
    with open_alerts(settings) as state:
        has_news = follow_states(
            state,
            settings,
            BROKEN_CHANNEL,
            broken,
            mended=first.worked | unused,
            by="delivery",
            moment=dt.datetime.now(dt.UTC),
        )
    last = drain_outbox(settings, instead=instead, known_problems=first.problems) if has_news else first
    sent = first.delivery.sent + (last.delivery.sent if has_news else 0)
    rendered = first.delivery.rendered + (last.delivery.rendered if has_news else 0)
    if first.problems:
        error = next(iter(first.problems.values()))
        raise type(error)(f"{last.delivery.pending} alert message(s) kept in the outbox, {sent} sent: {error}")
    return Delivery(sent, rendered, last.delivery.pending)
