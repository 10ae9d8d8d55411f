"""Takes secrets out of text that is going to be stored, logged or sent."""

from __future__ import annotations

import re

from pydantic import SecretStr

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


def redact(text: str, secret: SecretStr | None = None) -> str:
    """Replace the given secret and whatever looks like a token, a password in a URL or `password=…`."""
    if secret is not None and secret.get_secret_value():
        text = text.replace(secret.get_secret_value(), "[redacted]")
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
