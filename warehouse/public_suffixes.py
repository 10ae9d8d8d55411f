"""Under which names sites of different owners stand (`com`, `co.uk`, `myshopify.com`): publicsuffix.org's list."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import duckdb
import publicsuffixlist


def list_version() -> str:
    """The version of the installed list: sites that it judges otherwise are other referrers."""
    return version("publicsuffixlist")


def write_public_suffixes(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace `ops.public_suffixes` by the installed list.

    One row per rule: a host that ends in the labels of `suffix` has a public suffix of `labels` labels. An exception
    beats the others, else the rule with most labels counts (https://github.com/publicsuffix/list/wiki/Format).
    """
    rows = read_rules(Path(publicsuffixlist.PSLFILE).read_text(encoding="utf-8"))
    connection.execute(
        """
        create or replace table ops.public_suffixes as
        select unnest($suffixes) as suffix, unnest($labels) as labels, unnest($exceptions) as is_exception
        """,
        {
            "suffixes": [row[0] for row in rows],
            "labels": [row[1] for row in rows],
            "exceptions": [row[2] for row in rows],
        },
    )


def read_rules(text: str) -> list[tuple[str, int, bool]]:
    """(suffix, labels, is_exception) of each rule of the list's text, in the ASCII form that hosts are sent in."""
    rules = []
    for line in text.splitlines():
        rule = line.split(maxsplit=1)[0] if line.strip() else ""
        if not rule or rule.startswith("//"):
            continue
        name = rule.removeprefix("!").removeprefix("*.")
        count = name.count(".") + 1 + rule.startswith("*.") - rule.startswith("!")
        rules.append((_to_ascii(name), count, rule.startswith("!")))
    return rules


def _to_ascii(name: str) -> str:
    return name.lower() if name.isascii() else name.encode("idna").decode("ascii").lower()
