"""Bytes that are no text, in a file of JSON lines: what real senders let through costs a character, not a day."""

from __future__ import annotations

import re
from pathlib import Path

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Control characters, which JSON allows nowhere as they are; a line's end is not looked at.
_BLANKS = bytes(range(10)) + bytes(range(11, 32)), b" " * 31
# An escaped backslash, then a whole pair, stay as they are; half of one, an emoji that was cut in two, is no character.
_SURROGATES = re.compile(
    r"(?P<kept>\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


def mend_lines(source: Path, target: Path) -> int:
    """Write the lines of `source` with odd bytes replaced; returns how many lines had any.

    Byte order marks go, control characters become blanks; what is no UTF-8, and half an emoji, becomes U+FFFD, the
    replacement character. Line by line, for files that DuckDB has refused.
    """
    table = bytes.maketrans(*_BLANKS)
    mended = 0
    with source.open("rb") as lines, target.open("wb") as out:
        for line in lines:
            body = line.removesuffix(b"\n").removesuffix(b"\r")
            text = body.removeprefix(_BYTE_ORDER_MARK).translate(table).decode("utf-8", errors="replace")
            whole = _SURROGATES.sub(lambda found: found["kept"] or r"\ufffd", text).encode()
            mended += whole != body
            out.write(whole + b"\n")
    return mended
