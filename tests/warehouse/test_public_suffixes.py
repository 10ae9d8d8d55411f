"""The public suffix list as rows: its rules, and that the installed one is read whole."""

from __future__ import annotations

import duckdb

from warehouse.public_suffixes import read_rules, write_public_suffixes


def test_a_rule_is_a_suffix_and_how_many_labels_are_public() -> None:
    text = """// ===BEGIN ICANN DOMAINS===
com
co.uk   // what follows a blank is no rule

*.kobe.jp
!city.kobe.jp
食狮.com.cn
"""
    assert read_rules(text) == [
        ("com", 1, False),
        ("co.uk", 2, False),
        ("kobe.jp", 3, False),
        ("city.kobe.jp", 2, True),
        ("xn--85x722f.com.cn", 3, False),
    ]


def test_the_installed_list_is_written_whole() -> None:
    with duckdb.connect() as connection:
        connection.execute("create schema ops")
        write_public_suffixes(connection)
        found = dict(
            connection.execute("select suffix, labels from ops.public_suffixes where not is_exception").fetchall()
        )
        assert connection.execute("select max(labels) from ops.public_suffixes").fetchone() == (7,)
    assert len(found) > 9_000
    assert (found["com"], found["co.uk"], found["myshopify.com"]) == (1, 2, 2)
