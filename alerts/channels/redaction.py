"""Takes secrets out of text that is going to be stored, logged or sent."""

from __future__ import annotations

import re

from pydantic import SecretStr

from foundation.settings import Settings

_PATTERNS = (
    (re.compile(r"\bxox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{4,}"), "[redacted]"),
    (re.compile(r"\bxapp-[A-Za-z0-9-]{4,}"), "[redacted]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 [redacted]"),
    (re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"), "[redacted]"),
    (
        re.compile(r"(?i)\b([a-z0-9_]*(?:password|passwd|secret|token|api_?key))(\s*[=:]\s*)[^\s,;&'\"]+"),
        r"\1\2[redacted]",
    ),
)


def redact(text: str, *secrets: SecretStr | None) -> str:
    """Replace the given secrets and whatever looks like a token, a password in a URL or `password=…`."""
    for secret in secrets:
        if secret is not None and secret.get_secret_value():
            text = text.replace(secret.get_secret_value(), "[redacted]")
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def secrets_of(settings: Settings) -> list[SecretStr]:
    """Every secret of the settings that is set."""
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [value for value in values if isinstance(value, SecretStr)]
