"""Text from odd files as people can read it: in messages, one printable line of bounded length."""

from __future__ import annotations

LONGEST = 1_000


def as_line(text: str, longest: int = LONGEST) -> str:
    """The text in one line: what can't be printed is escaped, and what is beyond `longest` characters is left out."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
