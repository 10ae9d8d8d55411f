"""Slack's Web API: posts a message once, changes it, retries within bounds, and says what to do when refused."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

from pydantic import SecretStr
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry import RetryHandler
from slack_sdk.http_retry.builtin_handlers import ConnectionErrorRetryHandler, RateLimitErrorRetryHandler
from slack_sdk.http_retry.builtin_interval_calculators import BackoffRetryIntervalCalculator
from slack_sdk.http_retry.request import HttpRequest
from slack_sdk.http_retry.response import HttpResponse
from slack_sdk.http_retry.state import RetryState

from alerts.channels.errors import (
    AlertDeliveryError,
    ChannelRejectedError,
    ChannelUnavailableError,
    MessageGoneError,
    MessageRefusedError,
)
from alerts.channels.protocol import Posted
from alerts.channels.redaction import redact
from alerts.text import read_count

log = logging.getLogger(__name__)

METADATA_EVENT = "funnelhouse_alert"
# The clock of this machine may have been a day ahead of Slack's when a message was queued.
_CLOCK_TOLERANCE_SECONDS = 2 * 86_400
# `SlackSender` repeats these itself: it looks for what a lost answer has left behind, and counts the attempts.
_REPEATED_BY_SENDER = ("chat.postMessage", "chat.update")
_CONNECTION_ERRORS = (URLError, ConnectionError, TimeoutError, HTTPException)
_TRANSIENT = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
_REFUSED_CONTENT = {
    "invalid_blocks",
    "invalid_blocks_format",
    "invalid_attachments",
    "msg_too_long",
    "msg_blocks_too_long",
    "markdown_text_conflict",
    "no_text",
    "invalid_metadata_format",
    "invalid_metadata_schema",
    "metadata_too_large",
}
_GONE = {"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"}
_ADVICE = {
    "invalid_auth": "the token is wrong; set FUNNELHOUSE_SLACK_TOKEN to the app's bot token (xoxb-…)",
    "not_authed": "no token arrived; set FUNNELHOUSE_SLACK_TOKEN to the app's bot token (xoxb-…)",
    "account_inactive": "the token belongs to a removed app or user; install the app again and set its new token",
    "token_revoked": "the token was revoked; install the app again and set its new token",
    "token_expired": "the token has expired; create a new one and set FUNNELHOUSE_SLACK_TOKEN",
    "missing_scope": "the app lacks a scope; grant chat:write and files:write and install it again",
    "channel_not_found": "no such channel, or a private one; check FUNNELHOUSE_SLACK_CHANNEL and /invite the app",
    "not_in_channel": "the app is not in the channel; /invite it there",
    "is_archived": "the channel is archived; set FUNNELHOUSE_SLACK_CHANNEL to an active one",
}


class BoundedRateLimitHandler(RateLimitErrorRetryHandler):
    """Waits as long as Retry-After says, unless that is longer than a task should hang."""

    def __init__(self, max_retry_count: int, max_wait_seconds: float):
        super().__init__(max_retry_count)
        self.max_wait_seconds = max_wait_seconds

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        if response is None or response.status_code != 429:
            return False
        values = next((v for k, v in response.headers.items() if k.lower() == "retry-after"), ["1"])
        wait = read_count(values[0])
        return wait is not None and wait <= self.max_wait_seconds


class RepeatableServerErrorHandler(RetryHandler):
    """Retries 5xx, but never a post: it may have been accepted, so `SlackSender` looks before it repeats."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        return response is not None and response.status_code >= 500 and not request.url.endswith(_REPEATED_BY_SENDER)


class RepeatableConnectionErrorHandler(ConnectionErrorRetryHandler):
    """Retries lost connections, but never of a post, for the same reason."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        return (
            response is None and isinstance(error, _CONNECTION_ERRORS) and not request.url.endswith(_REPEATED_BY_SENDER)
        )


class SlackSender:
    """Posts to one channel. The token is only ever put into the Authorization header."""

    def __init__(
        self,
        *,
        token: SecretStr,
        channel: str,
        base_url: str,
        max_attempts: int = 5,
        backoff_seconds: float = 0.5,
        timeout_seconds: int = 20,
        max_wait_seconds: float = 60,
    ):
        self._token = token
        self._channel = channel
        self._max_attempts = max_attempts
        self._backoff_seconds = backoff_seconds
        backoff = BackoffRetryIntervalCalculator(backoff_factor=backoff_seconds)
        retries = max_attempts - 1
        self._client = WebClient(
            token=token.get_secret_value(),
            base_url=base_url,
            timeout=timeout_seconds,
            retry_handlers=[
                BoundedRateLimitHandler(retries, max_wait_seconds),
                RepeatableServerErrorHandler(retries, backoff),
                RepeatableConnectionErrorHandler(retries, backoff),
            ],
        )
        # The SDK forces HTTPS_PROXY on every address; urllib, left alone, reads it too and also respects NO_PROXY.
        self._client.proxy = None

    def post(
        self,
        *,
        text: str,
        blocks: list[dict[str, Any]] | None,
        key: str,
        since: float,
        thread: Posted | None = None,
    ) -> Posted:
        """Post once. `key` travels in the message's metadata, `since` (epoch seconds) is when it was queued.

        After an attempt whose outcome is unknown (a lost connection, a 5xx) the channel is searched for the key
        before the message is posted again. Raises `MessageRefusedError`, `ChannelRejectedError` or
        `ChannelUnavailableError`.
        """

        def post() -> Posted:
            response = self._client.chat_postMessage(
                channel=str(thread.channel_id) if thread else self._channel,
                thread_ts=thread.message_id if thread else None,
                text=text,
                blocks=blocks,
                metadata={"event_type": METADATA_EVENT, "event_payload": {"key": key}},
                unfurl_links=False,
            )
            return Posted(str(response["channel"]), str(response["ts"]))

        return self._try(post, lambda: self.find(key, since=since, thread=thread))

    def update(self, posted: Posted, *, text: str, blocks: list[dict[str, Any]] | None) -> Posted:
        """Make a message say something else. The same update twice changes nothing, so it may be repeated at will.

        Raises `MessageGoneError` when somebody deleted the message, else as `post`.
        """

        def update() -> Posted:
            self._client.chat_update(
                channel=str(posted.channel_id), ts=str(posted.message_id), text=text, blocks=blocks or []
            )
            return posted

        return self._try(update, lambda: None)

    def _try(self, call: Callable[[], Posted], find: Callable[[], Posted | None]) -> Posted:
        """Call until it succeeds, at most `max_attempts` times; after a lost answer `find` looks whether it did."""
        problem = ""
        for attempt in range(self._max_attempts):
            if attempt:
                self.wait(attempt - 1)
            if attempt and (found := find()):
                return found
            try:
                return call()
            except SlackApiError as error:
                status, code = _read_error(error)
                if status == 429:
                    raise ChannelUnavailableError("Slack limits the rate (429) for longer than we wait") from None
                if status < 500 and code not in _TRANSIENT:
                    raise self._to_error(error) from None
                problem = f"HTTP {status}" if status >= 500 else code
            except _CONNECTION_ERRORS as error:
                problem = self._redact(f"{type(error).__name__}: {error}")
            log.warning("a call to Slack, attempt %d of %d: %s", attempt + 1, self._max_attempts, problem)
        # The last attempt may have gone through although its answer was lost.
        self.wait(1)
        if found := find():
            return found
        raise ChannelUnavailableError(f"Slack could not be reached in {self._max_attempts} attempts; last: {problem}")

    def find(self, key: str, *, since: float, thread: Posted | None = None) -> Posted | None:
        """Look for an earlier message with this key; None also when the token may not read the channel.

        Raises `ChannelUnavailableError` when the look itself got no answer: posting again could double the message.
        """
        channel_id = thread.channel_id if thread else self._find_channel_id()
        if channel_id is None:
            return None
        window: dict[str, Any] = {
            "oldest": f"{since - _CLOCK_TOLERANCE_SECONDS:.6f}",
            "limit": 200,
            "include_all_metadata": True,
        }
        cursor: str | None = None
        try:
            while True:
                if thread:
                    page = self._client.conversations_replies(
                        channel=channel_id, ts=str(thread.message_id), cursor=cursor, **window
                    )
                else:
                    page = self._client.conversations_history(channel=channel_id, cursor=cursor, **window)
                for message in page.get("messages") or []:
                    metadata = message.get("metadata") or {}
                    if (metadata.get("event_payload") or {}).get("key") == key:
                        return Posted(channel_id, str(message["ts"]), was_there=True)
                cursor = (page.get("response_metadata") or {}).get("next_cursor")
                if not cursor:
                    return None
        except (SlackApiError, *_CONNECTION_ERRORS) as error:
            self._raise_if_transient(error)
            # At least once is the promise: when we may not look (no channels:history scope), we send again.
            log.warning("cannot look for an earlier copy of message %s: %s", key, self._describe(error))
            return None

    def _raise_if_transient(self, error: Exception) -> None:
        if isinstance(error, SlackApiError):
            status, code = _read_error(error)
            if status < 500 and status != 429 and code not in _TRANSIENT:
                return
        raise ChannelUnavailableError(f"Slack gave no answer about the channel: {self._describe(error)}") from None

    def upload_chart(self, path: Path, *, title: str, thread: Posted | None = None) -> str | None:
        """Upload a PNG, privately or into a thread; returns its file id, None when it failed (the reason is logged)."""
        problem = ""
        for attempt in range(min(3, self._max_attempts)):
            if attempt:
                self.wait(attempt - 1)
            try:
                response = self._client.files_upload_v2(
                    filename=path.name,
                    content=path.read_bytes(),
                    title=title,
                    alt_txt=title,
                    channel=thread.channel_id if thread else None,
                    thread_ts=thread.message_id if thread else None,
                )
                return str(response["files"][0]["id"])
            except SlackApiError as error:
                problem = self._describe(error)
                break
            except HTTPError as error:
                problem = f"HTTP {error.code} from the upload address"
                if error.code < 500 and error.code != 429:
                    break
            # The SDK retries its API calls, but not the upload between them.
            except (SlackClientError, *_CONNECTION_ERRORS) as error:
                problem = self._describe(error)
        log.warning("the chart %s could not be uploaded: %s", path.name, problem)
        return None

    def _find_channel_id(self) -> str | None:
        if re.fullmatch(r"[CGD][A-Z0-9]{8,}", self._channel):
            return self._channel
        cursor: str | None = None
        try:
            while True:
                page = self._client.conversations_list(
                    types="public_channel,private_channel", exclude_archived=True, limit=1000, cursor=cursor
                )
                for channel in page.get("channels") or []:
                    if channel.get("name") == self._channel.lstrip("#"):
                        return str(channel["id"])
                cursor = (page.get("response_metadata") or {}).get("next_cursor")
                if not cursor:
                    return None
        except (SlackApiError, *_CONNECTION_ERRORS) as error:
            self._raise_if_transient(error)
            log.warning(
                "cannot look up the id of channel %s (%s); set FUNNELHOUSE_SLACK_CHANNEL to the id (C…)",
                self._channel,
                self._describe(error),
            )
            return None

    def wait(self, exponent: int) -> None:
        """Sleep for backoff_seconds x 2^exponent, give or take a fifth."""
        time.sleep(self._backoff_seconds * 2**exponent * random.uniform(0.8, 1.2))  # noqa: S311

    def _to_error(self, error: SlackApiError) -> AlertDeliveryError:
        _, code = _read_error(error)
        if code in _GONE:
            return MessageGoneError(self._describe(error))
        if code in _REFUSED_CONTENT:
            return MessageRefusedError(self._describe(error))
        advice = _ADVICE.get(code, "see https://docs.slack.dev/reference/methods/chat.postMessage#errors")
        return ChannelRejectedError(f"Slack refuses to post to {self._channel} ({code}): {advice}")

    def _describe(self, error: Exception) -> str:
        if isinstance(error, SlackApiError):
            status, code = _read_error(error)
            details = error.response.get("response_metadata") if isinstance(error.response.data, dict) else None
            messages = (details or {}).get("messages") or []
            return self._redact(
                f"HTTP {status}, {code}" + (f", {'; '.join(map(str, messages))[:300]}" if messages else "")
            )
        return self._redact(f"{type(error).__name__}: {error}"[:300])

    def _redact(self, text: str) -> str:
        return redact(text, self._token)


def _read_error(error: SlackApiError) -> tuple[int, str]:
    data = error.response.data
    code = str(data.get("error", "unknown_error"))[:100] if isinstance(data, dict) else "unknown_error"
    return int(error.response.status_code), code
