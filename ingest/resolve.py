"""Which table of a day counts: daily beats fresh beats intraday."""

from __future__ import annotations

from ingest.names import KINDS


def is_worse(kind: str, than: str) -> bool:
    """True when a table of `kind` must not replace one of kind `than`."""
    return KINDS.index(kind) > KINDS.index(than)
