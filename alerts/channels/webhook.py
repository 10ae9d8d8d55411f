"""Webhook: each change of an incident as signed JSON to a URL."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import time
from http.client import HTTPException, HTTPResponse
from typing import Any, ClassVar, Self
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from alerts.channels.errors import (
    AlertDeliveryError,
    ChannelRejectedError,
    ChannelUnavailableError,
    MessageRefusedError,
)
from alerts.channels.protocol import Channel, Outgoing, Posted
from alerts.channels.redaction import redact
from alerts.messages.describing import describe_event, describe_incident
from alerts.messages.facts import to_json_values
from alerts.text import read_count
from foundation.settings import Settings

log = logging.getLogger(__name__)

SIGNATURE_HEADER = "X-Funnelhouse-Signature"
_MAX_WAIT_SECONDS = 60


class Webhook(Channel):
    """The URL of the settings."""

    name: ClassVar[str] = "webhook"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return bool(settings.alert_webhook_url)

    @classmethod
    def connect(cls, settings: Settings, target: str | None) -> Self:
        return cls(settings)

    def send(self, message: Outgoing) -> Posted:
        self._post(message, describe_incident(message.facts).headline)
        return Posted()

    def reply(self, message: Outgoing, parent: Posted) -> Posted:
        assert message.news is not None
        self._post(message, describe_event(message.news).headline)
        return Posted()

    def _post(self, message: Outgoing, text: str) -> None:
        payload = {
            "event": message.event,
            "incident_id": message.incident_id,
            "text": text,
            "incident": {**to_json_values(message.facts), "points": []},
        }
        post_event(self._settings, payload, key=message.key)


class _NoRedirects(HTTPRedirectHandler):
    """A redirected POST would become a GET without its body."""

    def redirect_request(self, *_: Any) -> None:
        return None


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """`t=<epoch seconds>,v1=<hex HMAC-SHA256 of "t.body">`: the receiver can tell who sent it, and when."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def post_event(
    settings: Settings,
    payload: dict[str, Any],
    *,
    key: str,
    max_attempts: int = 4,
    backoff_seconds: float = 0.5,
    timeout_seconds: float = 20,
) -> None:
    """POST one event; any 2xx is a success.

    Tries again after a lost connection, 429 and 5xx; the header `Idempotency-Key` is the same each time. Raises an
    `AlertDeliveryError`.
    """
    assert settings.alert_webhook_url is not None
    body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")
    problem = ""
    for attempt in range(max_attempts):
        if attempt:
            time.sleep(backoff_seconds * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))  # noqa: S311
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "funnelhouse",
            "Idempotency-Key": key.encode("ascii", "replace").decode(),
        }
        if settings.alert_webhook_secret is not None:
            headers[SIGNATURE_HEADER] = sign(settings.alert_webhook_secret.get_secret_value(), int(time.time()), body)
        request = Request(settings.alert_webhook_url, data=body, headers=headers, method="POST")  # noqa: S310
        try:
            response: HTTPResponse
            with build_opener(_NoRedirects).open(request, timeout=timeout_seconds) as response:
                response.read(1)
                return
        except HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise _to_error(error.code) from None
            problem = f"HTTP {error.code}"
            wait = read_count(error.headers.get("Retry-After", ""))
            if wait is not None and wait > _MAX_WAIT_SECONDS:
                break
            if wait is not None and attempt + 1 < max_attempts:
                time.sleep(wait)
        except (URLError, OSError, HTTPException) as error:
            problem = redact(f"{type(error).__name__}: {error}", settings.alert_webhook_secret)[:300]
        log.warning("posting to the webhook, attempt %d of %d: %s", attempt + 1, max_attempts, problem)
    raise ChannelUnavailableError(f"the webhook could not be reached in {max_attempts} attempts; last: {problem}")


def _to_error(code: int) -> AlertDeliveryError:
    if code in (400, 413, 422):
        return MessageRefusedError(f"the webhook refuses the message (HTTP {code})")
    return ChannelRejectedError(
        f"the webhook refuses (HTTP {code}); check FUNNELHOUSE_ALERT_WEBHOOK_URL and its secret"
    )


CHANNEL = Webhook
