"""Mail: HTML and text, the chart inside, by SMTP."""

from __future__ import annotations

import email.utils
import hashlib
import logging
import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import ClassVar, Self

from alerts.channels.errors import (
    AlertDeliveryError,
    ChannelRejectedError,
    ChannelUnavailableError,
    MessageRefusedError,
)
from alerts.channels.protocol import Channel, Outgoing, Posted
from alerts.channels.redaction import redact
from alerts.messages.describing import describe_event, describe_incident
from alerts.messages.page import render_page
from alerts.messages.plain import to_plain
from alerts.text import cut
from foundation.setting_types import list_mail_addresses
from foundation.settings import Settings

log = logging.getLogger(__name__)

CHART_CID = "chart@funnelhouse"
_TLS_PORT = 465


# How the figures of a known incident move is told where it can be ignored; a mail is for what somebody should look at.
_MAILED = {"opened", "reopened", "woken", "escalated", "expected", "withdrawn", "resolved", "folded_away", "week"}


class Mail(Channel):
    """One mail to all addresses of the settings for each message."""

    name: ClassVar[str] = "email"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return bool(settings.alert_email_to)

    @classmethod
    def connect(cls, settings: Settings, target: str | None) -> Self:
        if settings.smtp_host is None:
            raise ChannelRejectedError("FUNNELHOUSE_ALERT_EMAIL_TO is set but FUNNELHOUSE_SMTP_HOST is not")
        return cls(settings)

    @classmethod
    def carries(cls, event: str) -> bool:
        return event in _MAILED

    def send(self, message: Outgoing) -> Posted:
        whole = describe_incident(message.facts)
        self._send(message, subject=whole.headline, plain=to_plain(whole), news=None)
        return Posted()

    def reply(self, message: Outgoing, parent: Posted) -> Posted:
        assert message.news is not None
        news = describe_event(message.news).headline
        whole = describe_incident(message.facts)
        self._send(message, subject=news, plain=f"{news}\n\n{to_plain(whole)}", news=news)
        return Posted()

    def _send(self, message: Outgoing, *, subject: str, plain: str, news: str | None) -> None:
        html = render_page(
            describe_incident(message.facts),
            chart_src=f"cid:{CHART_CID}" if message.chart is not None else None,
            news=news,
        )
        thread_key = f"{message.incident_id}:{self.name}"
        mail = compose_mail(
            self._settings,
            subject=subject,
            plain=plain,
            html=html,
            chart=message.chart,
            key=message.key,
            thread_key=thread_key,
        )
        send_mail(self._settings, mail)


def compose_mail(
    settings: Settings,
    *,
    subject: str,
    plain: str,
    html: str,
    chart: Path | None,
    key: str,
    thread_key: str,
) -> EmailMessage:
    """The mail: text, HTML, and the chart inside the HTML under the content id that `html` names.

    A copy that is sent again after a lost answer has the same Message-ID, by which mail programs drop it.
    """
    mail = EmailMessage()
    recipients = list_mail_addresses(settings.alert_email_to or "")
    sender = settings.alert_email_from or recipients[0]
    mail["Subject"] = cut(subject, 180)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Date"] = email.utils.localtime()
    mail["Message-ID"] = make_message_id(key)
    mail["Auto-Submitted"] = "auto-generated"
    if key != thread_key:
        mail["In-Reply-To"] = mail["References"] = make_message_id(thread_key)
    mail.set_content(plain)
    mail.add_alternative(html, subtype="html")
    if chart is not None:
        html_part = mail.get_payload(1)
        assert isinstance(html_part, EmailMessage)
        html_part.add_related(
            chart.read_bytes(), maintype="image", subtype="png", cid=f"<{CHART_CID}>", filename="chart.png"
        )
    return mail


def make_message_id(key: str) -> str:
    """The same id for the same message, whatever characters its key has."""
    return f"<{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()[:32]}@funnelhouse>"


def send_mail(settings: Settings, mail: EmailMessage, *, timeout_seconds: float = 20) -> None:
    """Hand a mail to the server. Raises an `AlertDeliveryError` that names what to change, never a password."""
    host, port = str(settings.smtp_host), settings.smtp_port
    context = ssl.create_default_context()
    try:
        if port == _TLS_PORT:
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=timeout_seconds, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=timeout_seconds)
        with server:
            if settings.smtp_starttls and port != _TLS_PORT:
                server.starttls(context=context)
            if settings.smtp_user and settings.smtp_password is not None:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            refused = server.send_message(mail)
            for address, (code, _) in refused.items():
                log.warning("the mail server refuses to deliver alerts to %s (%d)", address, code)
    except (smtplib.SMTPException, OSError) as error:
        raise _explain(settings, error) from None


def _explain(settings: Settings, error: Exception) -> AlertDeliveryError:
    where = f"the mail server {settings.smtp_host}:{settings.smtp_port}"
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return ChannelRejectedError(
            f"{where} refuses the login ({error.smtp_code}); check FUNNELHOUSE_SMTP_USER and FUNNELHOUSE_SMTP_PASSWORD"
        )
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return ChannelRejectedError(
            f"{where} does not offer what was asked for ({redact(str(error), settings.smtp_password)}); "
            "check FUNNELHOUSE_SMTP_PORT and FUNNELHOUSE_SMTP_STARTTLS"
        )
    if isinstance(error, ssl.SSLError):
        return ChannelRejectedError(
            f"no trusted TLS connection to {where} ({error.reason or error}); "
            "check FUNNELHOUSE_SMTP_HOST, FUNNELHOUSE_SMTP_PORT and FUNNELHOUSE_SMTP_STARTTLS"
        )
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return ChannelRejectedError(f"{where} refuses every address of FUNNELHOUSE_ALERT_EMAIL_TO")
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 500:
        return MessageRefusedError(f"{where} refuses the mail ({error.smtp_code})")
    return ChannelUnavailableError(
        f"{where} could not be reached: {redact(f'{type(error).__name__}: {error}', settings.smtp_password)[:300]}"
    )


CHANNEL = Mail
