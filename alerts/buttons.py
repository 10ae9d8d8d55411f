"""Takes the answers of Slack's buttons: a small HTTP server that believes only what Slack has signed, once."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from alerts.channels.errors import AlertDeliveryError
from alerts.incidents import store
from alerts.incidents.answers import Answer, AnswerError, answer_in, load_rules_if_valid
from alerts.incidents.sending import deliver_outbox
from alerts.incidents.store import UnknownIncidentError
from alerts.state import open_alerts
from alerts.text import read_count
from foundation.errors import FunnelhouseError
from foundation.settings import Settings

log = logging.getLogger(__name__)

PATH = "/slack/interactions"
# https://docs.slack.dev/authentication/verifying-requests-from-slack
MAX_AGE_SECONDS = 300
_MAX_BODY = 1_000_000

_ACTIONS: dict[str, tuple[Answer, int | None]] = {
    "acknowledge": ("acknowledge", None),
    "snooze_1": ("snooze", 1),
    "snooze_7": ("snooze", 7),
    "expected": ("expected", None),
}


class RequestError(FunnelhouseError):
    """A request is no answer of an alert's button."""


class UntrustedRequestError(RequestError):
    """The request is not from Slack, is too old, or has been seen before."""


def verify_signature(secret: SecretStr, *, timestamp: str, body: bytes, signature: str, now: float) -> None:
    """Raise `UntrustedRequestError` unless Slack signed this body with the secret within the last five minutes."""
    seconds = read_count(timestamp)
    if seconds is None or abs(now - seconds) > MAX_AGE_SECONDS:
        raise UntrustedRequestError("the timestamp is missing or more than five minutes off")
    base = b"v0:" + timestamp.encode() + b":" + body
    expected = "v0=" + hmac.new(secret.get_secret_value().encode(), base, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise UntrustedRequestError("the signature does not match")


def take_answer(settings: Settings, *, timestamp: str, body: bytes, signature: str, now: float | None = None) -> str:
    """Verify a request and record its answer, both or neither; returns what was done, for the log.

    Raises `UntrustedRequestError`, and `RequestError` for a signed request that is no answer of these buttons.
    """
    if settings.slack_signing_secret is None:
        raise UntrustedRequestError("FUNNELHOUSE_SLACK_SIGNING_SECRET is not set")
    moment = time.time() if now is None else now
    verify_signature(settings.slack_signing_secret, timestamp=timestamp, body=body, signature=signature, now=moment)
    rules = load_rules_if_valid(settings)
    with open_alerts(settings) as state:
        if not store.remember_signature(state, signature, now=moment, forget_after=2 * MAX_AGE_SECONDS):
            raise UntrustedRequestError("the request has been seen before")
        kind, incident_id, by, days = read_payload(body)
        until = None
        if days is not None:
            local = dt.datetime.fromtimestamp(moment, settings.zone)
            until = local.date() + dt.timedelta(days=days)
        try:
            return answer_in(
                state,
                settings,
                rules,
                incident_id,
                kind,
                by=by,
                until=until,
                as_of=dt.datetime.fromtimestamp(moment, dt.UTC),
            )
        except (AnswerError, UnknownIncidentError) as error:
            return f"nothing to do: {error}"


def read_payload(body: bytes) -> tuple[Answer, str, str, int | None]:
    """The answer, the incident's id, who gave it, and for how many days. Raises `RequestError` for anything else."""
    try:
        (text,) = parse_qs(body.decode(), strict_parsing=True)["payload"]
        payload: dict[str, Any] = json.loads(text)
        action = payload["actions"][0]
        kind, days = _ACTIONS[action["action_id"]]
        user = payload["user"]
        by = str(user["id"])
        incident_id = str(action["value"])
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"not an answer from an alert's button: {type(error).__name__}") from None
    return kind, incident_id, by, days


class AnswerServer(ThreadingHTTPServer):
    """Answers Slack at once and delivers afterwards: Slack waits three seconds, a delivery may take longer."""

    daemon_threads = True

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self.settings = settings
        self._is_due = threading.Event()
        self._is_stopping = threading.Event()
        self._deliverer = threading.Thread(target=self._deliver, daemon=True)
        super().__init__((host, port), _Handler)
        self._deliverer.start()

    def deliver_soon(self) -> None:
        """Have the outbox delivered."""
        self._is_due.set()

    def stop(self) -> None:
        """Stop serving and wait for the delivery that is under way."""
        self._is_stopping.set()
        self._is_due.set()
        self.shutdown()
        self._deliverer.join()
        self.server_close()

    def _deliver(self) -> None:
        while True:
            self._is_due.wait()
            self._is_due.clear()
            if self._is_stopping.is_set():
                return
            try:
                deliver_outbox(self.settings)
            except AlertDeliveryError as error:
                log.warning("%s", error)
            except Exception:
                log.exception("the outbox could not be delivered; the next answer or alert tries again")


@contextmanager
def serving(settings: Settings, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[AnswerServer]:
    """A server in a thread; its port is `server.server_address[1]`."""
    server = AnswerServer(settings, host, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "funnelhouse"
    sys_version = ""
    timeout = 10
    server: AnswerServer

    def do_GET(self) -> None:
        self._answer(200 if urlsplit(self.path).path == "/health" else 404)

    def do_POST(self) -> None:
        length = read_count(self.headers.get("Content-Length", ""))
        if urlsplit(self.path).path != PATH:
            return self._answer(404)
        if length is None:
            return self._answer(411 if "Content-Length" not in self.headers else 400)
        if length > _MAX_BODY:
            return self._answer(413)
        body = self.rfile.read(length)
        try:
            done = take_answer(
                self.server.settings,
                timestamp=self.headers.get("X-Slack-Request-Timestamp", ""),
                body=body,
                signature=self.headers.get("X-Slack-Signature", ""),
            )
        except UntrustedRequestError as error:
            log.warning("refused a request: %s", error)
            return self._answer(401)
        except RequestError as error:
            log.warning("%s", error)
            return self._answer(400)
        log.info("%s", done)
        self.server.deliver_soon()
        return self._answer(200)

    def _answer(self, status: int) -> None:
        # What was not read of a request must not be taken for the next one.
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
