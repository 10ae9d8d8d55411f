"""What makes two versions of a day the same: a hash over its content, and not over names, times or order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from warehouse.lake import SourceFile

# Part of every content hash: raise it when the same source files must make different lake files.
LOADER_VERSION = 2


def hash_content(kind: str, files: Iterable[SourceFile], forgotten_rows: int = 0) -> str:
    """sha256 over the loader's version, the table's kind, the sorted hashes of its files and the rows left out.

    The number of forgotten rows is enough: more people are forgotten and none fewer, so of one content an equal number
    means the same rows.
    """
    parts = [f"loader {LOADER_VERSION}", kind, *sorted(file.sha256 for file in files)]
    if forgotten_rows:
        parts.append(f"{forgotten_rows} forgotten")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
