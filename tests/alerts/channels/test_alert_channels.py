"""Mail and webhook against real servers on loopback, beside a Slack that may fail."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from alert_warehouse import ShopDay, day, publish
from slack_server import CHANNEL_ID, TOKEN, Fault, SlackServer

from alerts.channels.errors import (
    AlertDeliveryError,
    ChannelFailedError,
    ChannelRejectedError,
    ChannelUnavailableError,
    MessageRefusedError,
)
from alerts.channels.mail import CHART_CID, make_message_id
from alerts.channels.protocol import Outgoing, Posted
from alerts.channels.webhook import SIGNATURE_HEADER, post_event
from alerts.channels.webhook import Webhook as WebhookChannel
from alerts.incidents.check import check_rules
from alerts.incidents.sending import deliver_outbox
from alerts.job import check_and_send
from alerts.summary import summarise_alerts
from foundation.settings import Settings
from foundation.state import open_state

# Loopback needs no TLS.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

CARTS = "20260810-cart_abandonment_rate-above"
SHOP = [ShopDay()] * 40 + [day(abandoned=180)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MailServer:
    """A mail server that keeps what it takes; `password` asks for a login as `alerts`."""

    def __init__(self, password: str | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refusal: str | None = None

        def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
            given = isinstance(data, LoginPassword) and (data.login, data.password) == (
                b"alerts",
                (password or "").encode(),
            )
            return AuthResult(success=given, handled=given)

        self.controller = Controller(
            self,
            hostname="127.0.0.1",
            port=_free_port(),
            authenticator=authenticate if password else None,
            auth_required=password is not None,
            auth_require_tls=False,
        )

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusal is not None:
            return self.refusal
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 OK"

    def __enter__(self) -> MailServer:
        self.controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.controller.stop()

    def settings(self, **overrides: Any) -> dict[str, Any]:
        values = {
            "smtp_host": "127.0.0.1",
            "smtp_port": self.controller.port,
            "smtp_starttls": False,
            "alert_email_to": "shop@example.com, data@example.com",
            "alert_email_from": "alerts@example.com",
        }
        return values | overrides


def statuses(settings: Settings) -> list[tuple[str, str, str]]:
    with open_state(settings) as state:
        found = state.execute("select channel, kind, status from alert_outbox order by channel, outbox_id")
        return [tuple(row) for row in found]


def test_a_mail_says_what_slack_says_with_the_chart_inside(make_settings: Callable[..., Settings]) -> None:
    with MailServer(password="hunter2hunter2") as server:
        settings = make_settings(**server.settings(smtp_user="alerts", smtp_password="hunter2hunter2"))
        publish(settings, SHOP)
        report = check_and_send(settings, run_id="first")
        assert (report.sent, report.rendered) == (1, 1)
        publish(settings, [*SHOP, day(abandoned=190)])
        check_and_send(settings, run_id="second")
        publish(settings, [*SHOP, day(abandoned=190), ShopDay()])
        check_and_send(settings, run_id="third")
    # How the figures of a known incident move is not mailed; its beginning and its end are.
    opened, resolved = server.mails
    assert server.recipients[0] == ["shop@example.com", "data@example.com"]
    assert opened["Subject"] == "🔴 Cart abandonment rate: 90.0 % (+38 %) since Mon 10 Aug"
    assert opened["From"] == "alerts@example.com" and opened["Auto-Submitted"] == "auto-generated"
    plain, html = opened.get_body(("plain",)), opened.get_body(("html",))
    assert plain is not None and html is not None
    assert "Expected: 65.0 %" in plain.get_content() and "Runbook: docs/runbooks/" in plain.get_content()
    assert f'src="cid:{CHART_CID}"' in html.get_content() and "65.0 %" in html.get_content()
    (chart,) = [part for part in opened.walk() if part.get_content_type() == "image/png"]
    assert chart["Content-ID"] == f"<{CHART_CID}>" and chart.get_content().startswith(b"\x89PNG")
    assert resolved["Subject"].startswith("✅ Cart abandonment rate is back to normal on Wed 12 Aug 2026")
    assert resolved["References"] == opened["Message-ID"] == make_message_id(f"{CARTS}:email")
    assert resolved["Message-ID"] != opened["Message-ID"]


def test_a_wrong_password_and_a_refusing_server_are_said_without_secrets(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with MailServer(password="right-password") as server:
        settings = make_settings(**server.settings(smtp_user="alerts", smtp_password="wrong-password"))
        publish(settings, SHOP)
        with pytest.raises(ChannelRejectedError, match="FUNNELHOUSE_SMTP_USER and FUNNELHOUSE_SMTP_PASSWORD") as caught:
            check_and_send(settings, run_id="first")
        assert "wrong-password" not in str(caught.value) + caplog.text + repr(settings)
        right = make_settings(**server.settings(smtp_user="alerts", smtp_password="right-password"))
        server.refusal = "554 no"
        with pytest.raises(MessageRefusedError, match=r"refuses the mail \(554\)"):
            deliver_outbox(right)
        server.refusal = "451 later"
        with pytest.raises(ChannelUnavailableError, match="could not be reached"):
            deliver_outbox(right)
        server.refusal = None
        assert deliver_outbox(right).sent == 1
        with pytest.raises(ChannelRejectedError, match="FUNNELHOUSE_SMTP_STARTTLS"):
            tls = make_settings(**server.settings(smtp_starttls=True))
            with open_state(settings) as state:
                state.execute("update alert_outbox set status = 'pending' where channel = 'email'")
            deliver_outbox(tls)
    with pytest.raises(ChannelUnavailableError, match="could not be reached"):
        deliver_outbox(right)  # the server has gone


class Webhook:
    """Keeps what is posted; answers with the next of `answers`, else 204."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                webhook.calls.append((dict(self.headers), body))
                status, headers = webhook.answers.pop(0) if webhook.answers else (204, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.server.shutdown()
    webhook.server.server_close()


def test_a_webhook_gets_each_change_signed_and_once(make_settings: Callable[..., Settings], webhook: Webhook) -> None:
    settings = make_settings(alert_webhook_url=webhook.url, alert_webhook_secret="shared-secret")
    webhook.answers = [(503, {}), (429, {"Retry-After": "0"})]
    for shop in (SHOP, [*SHOP, day(abandoned=190)], [*SHOP, day(abandoned=190), ShopDay()]):
        publish(settings, shop)
        check_and_send(settings, run_id=f"run-{len(shop)}")
    assert [json.loads(body)["event"] for _, body in webhook.calls] == ["opened"] * 3 + ["updated", "resolved"]
    keys = [headers["Idempotency-Key"] for headers, _ in webhook.calls]
    assert len(set(keys)) == 3 and keys[:3] == [f"{CARTS}:webhook"] * 3
    for headers, body in webhook.calls:
        timestamp, signature = (part.split("=", 1)[1] for part in headers[SIGNATURE_HEADER].split(","))
        expected = hmac.new(b"shared-secret", f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(signature, expected)
        assert b"shared-secret" not in body
    incident = json.loads(webhook.calls[-1][1])["incident"]
    assert (incident["status"], incident["observed"], incident["incident_days"]) == ("resolved", 0.95, 2)


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([(404, {})], ChannelRejectedError),
        ([(302, {"Location": "http://127.0.0.1:9/"})], ChannelRejectedError),
        ([(422, {})], MessageRefusedError),
        ([(500, {})] * 3, ChannelUnavailableError),
        ([(503, {"Retry-After": "3600"})], ChannelUnavailableError),
    ],
    ids=["gone", "redirected", "refused", "failing", "busy"],
)
def test_a_webhook_that_does_not_take_it_is_said(
    make_settings: Callable[..., Settings],
    webhook: Webhook,
    answers: list[tuple[int, dict[str, str]]],
    error: type[AlertDeliveryError],
) -> None:
    webhook.answers = list(answers)
    with pytest.raises(error):
        post_event(
            make_settings(alert_webhook_url=webhook.url), {"a": 1}, key="k", max_attempts=3, backoff_seconds=0.01
        )
    assert len(webhook.calls) == len(answers)


def test_a_channel_that_fails_neither_blocks_nor_doubles_the_others_and_is_told_by_them(
    make_settings: Callable[..., Settings], slack: SlackServer, webhook: Webhook
) -> None:
    with MailServer() as server:
        settings = make_settings(
            slack_token=TOKEN,
            slack_channel=CHANNEL_ID,
            slack_base_url=slack.base_url,
            alert_webhook_url=webhook.url,
            **server.settings(),
        )
        slack.inject("chat.postMessage", Fault("error", error="is_archived"))
        webhook.answers = [(401, {})]
        publish(settings, SHOP)
        with pytest.raises(ChannelRejectedError, match=r"4 alert message\(s\) kept in the outbox, 3 sent"):
            check_and_send(settings, run_id="first")
        subjects = [str(mail["Subject"]) for mail in server.mails]
        assert subjects[0].startswith("🔴 Cart abandonment rate") and sorted(subjects[1:]) == [
            "🔴 Alerts no longer get through by slack",
            "🔴 Alerts no longer get through by webhook",
        ]
        summary = "\n".join(summarise_alerts(settings))
        assert summary.count("messages wait for") == 2 and "(is_archived)" in summary
        # both work again: what waited goes out, and the other two channels hear of it
        assert deliver_outbox(settings).sent == 9
        assert [message["text"][:30] for message in slack.parents()] == [
            "🔴 Cart abandonment rate: 90.0 ",
            "✅ Alerts no longer get through",
        ]
        assert [json.loads(body)["event"] for _, body in webhook.calls] == ["opened"] * 3 + ["resolved"]
        assert [str(mail["Subject"]) for mail in server.mails[3:]] == [
            f"✅ Alerts no longer get through by {name}: it works again. It lasted 1 day."
            for name in ("slack", "webhook")
        ]


def test_an_error_that_nobody_foresaw_is_the_channels_own_and_keeps_its_secrets(
    make_settings: Callable[..., Settings], slack: SlackServer, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(WebhookChannel):
        def send(self, message: Outgoing) -> Posted:
            raise TypeError("cannot send with shared-secret-value")

    settings = make_settings(
        slack_token=TOKEN,
        slack_channel=CHANNEL_ID,
        slack_base_url=slack.base_url,
        alert_webhook_url="http://127.0.0.1:9/hook",
        alert_webhook_secret="shared-secret-value",
    )
    publish(settings, SHOP)
    check_rules(settings, run_id="first")
    with pytest.raises(ChannelFailedError, match=r"webhook failed: TypeError: cannot send with \[redacted\]"):
        deliver_outbox(settings, instead=Broken(settings))
    assert [message["text"][:22] for message in slack.told()] == [
        "🔴 Cart abandonment rat",
        "🔴 Alerts no longer get",
    ]
    assert "shared-secret-value" not in caplog.text + repr(slack.messages)
