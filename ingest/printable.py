"""Text from odd files as people can read it: in messages, one printable line of bounded length."""

from __future__ import annotations

LONGEST = 1_000


def as_line(text: str, longest: int = LONGEST) -> str:
    """The text in one line: what can't be printed is escaped, and what is beyond `longest` characters is left out."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
