"""Slack: an incident's own message with its chart, edited as things change, and a thread below it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from alerts.channels.errors import ChannelRejectedError, MessageGoneError, MessageRefusedError
from alerts.channels.protocol import Channel, Outgoing, Posted
from alerts.channels.slack_api import SlackSender
from alerts.messages.block_kit import TEXT_LIMIT, Message, render_details, render_event, render_incident
from alerts.messages.facts import KpiFacts
from alerts.text import escape_code
from foundation.settings import Settings

log = logging.getLogger(__name__)

Blocks = list[dict[str, Any]]
HandOver = Callable[[str, Blocks | None], Posted]
# A fresh upload takes Slack a moment before a message may show it.
_IMAGE_ATTEMPTS = 4
_TITLE_LIMIT = 200


class Slack(Channel):
    """One channel of a workspace."""

    name: ClassVar[str] = "slack"
    can_edit: ClassVar[bool] = True
    is_always_queued: ClassVar[bool] = True

    def __init__(self, sender: SlackSender, *, with_buttons: bool = False) -> None:
        self._sender = sender
        self._with_buttons = with_buttons

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return settings.slack_token is not None

    @classmethod
    def connect(cls, settings: Settings, target: str | None) -> Self:
        channel = target or settings.slack_channel
        if settings.slack_token is None or channel is None:
            raise ChannelRejectedError(
                "FUNNELHOUSE_SLACK_TOKEN is set but FUNNELHOUSE_SLACK_CHANNEL is not: set it to the channel's id (C…)"
            )
        sender = SlackSender(token=settings.slack_token, channel=channel, base_url=settings.slack_base_url)
        return cls(sender, with_buttons=settings.slack_signing_secret is not None)

    def send(self, message: Outgoing) -> Posted:
        shown = render_incident(message.facts, with_buttons=self._with_buttons)
        chart = self._upload(message, shown)
        posted = self._try_variants(self._post(message), shown, message, chart)
        if chart is not None and message.chart is not None and posted.chart_id is None and not posted.was_there:
            self._sender.upload_chart(message.chart, title=_title(shown), thread=posted)
        self._tell_details(message, posted)
        return posted

    def reply(self, message: Outgoing, parent: Posted) -> Posted:
        assert message.news is not None
        thread = parent if parent.message_id is not None else None
        return self._try_variants(self._post(message, thread), render_event(message.news), message)

    def edit(self, message: Outgoing, parent: Posted) -> Posted:
        shown = render_incident(message.facts, with_buttons=self._with_buttons)
        chart = None
        if message.chart is not None:
            chart = None if parent.chart_id is None else _Uploaded(parent.chart_id, parent.chart_hash)
            if chart is None or chart.shows != message.chart_hash:
                # Better the chart of the day before than none.
                chart = self._upload(message, shown) or chart

        def update(text: str, blocks: Blocks | None) -> Posted:
            return self._sender.update(parent, text=text, blocks=blocks)

        posted = self._try_variants(update, shown, message, chart)
        self._update_details(message, parent)
        return posted

    def find(self, message: Outgoing, parent: Posted | None) -> Posted | None:
        found = self._sender.find(message.key, since=message.queued_at.timestamp(), thread=parent)
        if found is not None:
            log.info("message %s was already there", message.key)
            if parent is None and self._find_details(message, found) is None:
                self._tell_details(message, found)
        return found

    def _tell_details(self, message: Outgoing, parent: Posted) -> None:
        """What the incident's own message has no room for, as the first reply in its thread."""
        if isinstance(message.facts, KpiFacts) and parent.message_id is not None:
            told = replace(message, key=_details_key(message))
            self._try_variants(self._post(told, parent), render_details(message.facts), told)

    def _update_details(self, message: Outgoing, parent: Posted) -> None:
        """Make the first reply say how things stand; where it cannot be found, the message itself has to do."""
        if not isinstance(message.facts, KpiFacts) or (found := self._find_details(message, parent)) is None:
            return

        def update(text: str, blocks: Blocks | None) -> Posted:
            return self._sender.update(found, text=text, blocks=blocks)

        try:
            self._try_variants(update, render_details(message.facts), message)
        except MessageGoneError:
            log.info("somebody has deleted the details of %s", message.incident_id)

    def _find_details(self, message: Outgoing, parent: Posted) -> Posted | None:
        if not isinstance(message.facts, KpiFacts) or parent.message_id is None:
            return None
        return self._sender.find(_details_key(message), since=float(parent.message_id), thread=parent)

    def _post(self, message: Outgoing, thread: Posted | None = None) -> HandOver:
        def post(text: str, blocks: Blocks | None) -> Posted:
            since = message.queued_at.timestamp()
            return self._sender.post(text=text, blocks=blocks, key=message.key, since=since, thread=thread)

        return post

    def _upload(self, message: Outgoing, shown: Message) -> _Uploaded | None:
        if message.chart is None:
            return None
        file_id = self._sender.upload_chart(message.chart, title=_title(shown))
        return None if file_id is None else _Uploaded(file_id, message.chart_hash)

    def _try_variants(
        self, hand_over: HandOver, shown: Message, message: Outgoing, chart: _Uploaded | None = None
    ) -> Posted:
        """Hand over the best form that Slack accepts: the message matters more than its looks."""
        refusal: MessageRefusedError | None = None
        if chart is not None:
            blocks = shown.with_image(chart.file_id, _alt_text(shown))
            for attempt in range(_IMAGE_ATTEMPTS):
                if attempt:
                    self._sender.wait(attempt)
                try:
                    posted = hand_over(shown.text, blocks)
                    return replace(posted, chart_id=chart.file_id, chart_hash=chart.shows)
                except MessageRefusedError as error:
                    log.warning("Slack refused message %s with its chart: %s", message.key, error)
        for name, text, blocks_or_none in (
            ("without its chart", shown.text, shown.blocks),
            ("without its layout", escape_code(shown.plain, TEXT_LIMIT), None),
        ):
            try:
                return replace(hand_over(text, blocks_or_none), chart_id=None, chart_hash=None)
            except MessageRefusedError as error:
                log.warning("Slack refused message %s %s: %s", message.key, name, error)
                refusal = error
        assert refusal is not None
        raise refusal


@dataclass(frozen=True)
class _Uploaded:
    """A chart that Slack has."""

    file_id: str
    shows: str | None  # the hash of what it shows


def _alt_text(shown: Message) -> str:
    return f"Chart: {shown.plain.splitlines()[0]}"


def _details_key(message: Outgoing) -> str:
    return f"{message.incident_id}:slack:details"


def _title(shown: Message) -> str:
    return _alt_text(shown)[:_TITLE_LIMIT]


CHANNEL = Slack
