"""Text that fits and stays text: cutting, escaping, and the words for values and dates."""

from __future__ import annotations

import datetime as dt
import re
from urllib.parse import quote

ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
LINK_LIMIT = 500


def read_count(text: str) -> int | None:
    """A whole number from 0 on in plain digits, as a header has it; None for anything else."""
    # `"²".isdigit()` is true, and int() does not take it
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


def measure(text: str) -> int:
    """Length as Slack's clients count it: an emoji outside the basic plane counts two (UTF-16 code units)."""
    return len(text) + sum(ord(character) > 0xFFFF for character in text)


def cut(text: str, limit: int) -> str:
    """Plain text on one line, of at most `limit` units, ending in … when cut."""
    return cut_lines(one_line(text), limit)


def escape(text: str, limit: int = 300) -> str:
    """Text for mrkdwn on one line: &, < and > escaped, at most `limit` units after escaping."""
    return cut_lines(one_line(text), limit, entities=ENTITIES)


def escape_name(text: str, limit: int = 120) -> str:
    """A name from the data for mrkdwn: escaped, and without any formatting of its own."""
    # A zero-width space after each formatting character: `*` in a campaign's name is a character, not bold type.
    return cut_lines(re.sub(r"([*_~`@:])", "\\1\u200b", one_line(text)), limit, entities=ENTITIES)


def escape_code(text: str, limit: int) -> str:
    """Text for inside a ``` block: keeps its lines, cannot end the block."""
    return cut_lines(printable_lines(text).replace("`", "'"), limit, entities=ENTITIES)


def printable_lines(text: str) -> str:
    """The text without control characters, but with its lines."""
    # Control characters would reach the terminal that prints the message, and lone surrogates no file.
    return "".join(character for character in text if character in "\n\t" or character.isprintable()).strip("\n")


def one_line(text: str) -> str:
    """The text on one line, without control characters; `(empty)` when nothing is left."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(visible.split()) or "(empty)"


def cut_lines(text: str, limit: int, entities: dict[str, str] | None = None) -> str:
    """Text of at most `limit` units after replacing `entities`, ending in … when cut; its lines stay."""
    entities = entities or {}
    pieces = [entities.get(character, character) for character in text]
    if sum(map(measure, pieces)) <= limit:
        return "".join(pieces)
    kept, used = [], 1
    for piece in pieces:
        used += measure(piece)
        if used > limit:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + "…"


def say_value(value: float | None, unit: str) -> str:
    """A value with its unit, short enough for a headline."""
    if value is None:
        return "unknown"
    if unit == "share":
        return f"{value * 100:,.1f} %"
    if unit == "seconds":
        return f"{value:,.1f} s" if abs(value) < 100 else f"{value:,.0f} s"
    if unit == "usd":
        return f"${value:,.2f}" if abs(value) < 1_000 else f"${value:,.0f}"
    if unit == "hours":
        return f"{value:,.1f} h" if abs(value) < 10 else f"{value:,.0f} h"
    if unit == "score":
        return f"{value:,.3f}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.1f}"


def say_change(observed: float, expected: float | None) -> str:
    """The relative change, or an empty string when there is nothing to compare with."""
    if not expected:
        return ""
    return f"{(observed / expected - 1) * 100:+,.0f} %".replace("-", "−")


def say_date(iso: str, *, with_year: bool = True) -> str:
    """2026-08-03 → Mon 3 Aug 2026."""
    date = dt.date.fromisoformat(iso)
    return f"{date:%a} {date.day} {date:%b}" + (f" {date.year}" if with_year else "")


def say_hour(iso: str, *, with_date: bool = False) -> str:
    """2026-08-03T14:00+02:00 → 14:00, or Mon 3 Aug, 14:00."""
    time = iso[11:16]
    return f"{say_date(iso[:10], with_year=False)}, {time}" if with_date else time


def say_hours(since: str, until: str) -> str:
    """How long it lasted: `it lasted 3 hours`."""
    span = dt.datetime.fromisoformat(until) - dt.datetime.fromisoformat(since)
    hours = round(span.total_seconds() / 3600)
    return f"it lasted {'1 hour' if hours == 1 else f'{hours:,} hours'}"


def say_days(count: int) -> str:
    """1 day, 3 days."""
    return "1 day" if count == 1 else f"{count:,} days"


def quote_url(target: str) -> str | None:
    """A web address with everything odd in it encoded; None for what is none or is far too long."""
    if not re.match(r"https?://[^\s/]+", target):
        return None
    url = quote(target, safe=":/?#[]@!$&'()*+,;=%~-._", errors="replace")
    # A URL cut short leads nowhere: beyond a sane length it is shown as text.
    return url if len(url) <= LINK_LIMIT else None
