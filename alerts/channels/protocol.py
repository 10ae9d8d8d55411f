"""What a channel is: a way by which messages reach people."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self

from alerts.channels.errors import MessageRefusedError
from alerts.messages.facts import EventFacts, Facts
from foundation.settings import Settings


@dataclass(frozen=True)
class Outgoing:
    """A message on its way. A channel lays it out itself; `alerts.messages` has the layouts.

    `facts` is the incident as it stands, `news` the change that a reply tells. `chart` is a PNG, of which `chart_hash`
    says what it shows. `key` is the same at each attempt, and of no other message.
    """

    key: str
    number: int
    incident_id: str
    event: str
    facts: Facts
    news: EventFacts | None
    queued_at: dt.datetime
    chart: Path | None = None
    chart_hash: str | None = None


@dataclass(frozen=True)
class Posted:
    """Where a message stands, in the channel's own words, and which uploaded chart it shows.

    None where the channel has no place that can be found again.
    """

    channel_id: str | None = None
    message_id: str | None = None
    chart_id: str | None = None
    chart_hash: str | None = None
    was_there: bool = False  # found from an earlier attempt, not posted now


class Channel(Protocol):
    """A way by which messages reach people.

    A module in this folder whose constant `CHANNEL` is such a class is a channel; nothing else has to know it. What
    goes wrong is an `AlertDeliveryError`: it says whether later, another setting, or nothing will help.
    """

    name: ClassVar[str]  # in the outbox and in messages' keys: once in use it never changes
    outcome: ClassVar[Literal["sent", "rendered"]] = "sent"
    # False: an incident's own message stays as it was sent, and replies alone tell what changes
    can_edit: ClassVar[bool] = False
    # queued for although nothing is configured; the folder takes what comes, and shows what would have been sent
    is_always_queued: ClassVar[bool] = False

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        """Whether the settings ask for this channel."""
        ...

    @classmethod
    def connect(cls, settings: Settings, target: str | None) -> Self:
        """The channel; `target` is the rule's own `channel`.

        Raises `ChannelRejectedError` where a setting is missing.
        """
        ...

    @classmethod
    def carries(cls, event: str) -> bool:
        """Whether a reply about such an event goes this way."""
        return True

    def send(self, message: Outgoing) -> Posted:
        """Send an incident's own message."""
        ...

    def reply(self, message: Outgoing, parent: Posted) -> Posted:
        """Tell a change below the incident's own message."""
        ...

    def edit(self, message: Outgoing, parent: Posted) -> Posted:
        """Make the incident's own message say how things stand now. The same edit twice changes nothing."""
        raise MessageRefusedError(f"nothing can be edited in {self.name}")

    def find(self, message: Outgoing, parent: Posted | None) -> Posted | None:
        """The message, where an earlier attempt got it there without hearing so; None where nobody can tell."""
        return None
