"""What the summary says of the data and the KPIs."""

from __future__ import annotations

import duckdb

from warehouse.summary import list_schema_changes, summarise_data, summarise_kpis


def _tell(changes: str) -> list[str]:
    with duckdb.connect() as connection:
        connection.execute("create schema ops")
        connection.execute(
            "create table ops.ingest_ledger as select date '2026-08-01' + n::int as event_date from range(20) r(n)"
        )
        connection.execute(
            "create table ops.schema_changes (column_name varchar, change varchar, event_date date, last_date date, "
            "differs_from_known_schema boolean, is_current boolean)"
        )
        if changes:
            connection.execute(f"insert into ops.schema_changes values {changes}")
        return list_schema_changes(connection)


def test_an_export_as_known_needs_no_line() -> None:
    assert _tell("") == []
    assert _tell("('publisher', 'new', '2026-08-02', '2026-08-20', false, true)") == []  # back to what is known
    assert _tell("('publisher', 'missing', '2026-08-02', '2026-08-03', true, false)") == []  # long over


def test_columns_that_differ_are_named_with_their_day_new_ones_first() -> None:
    rows = ["('publisher', 'missing', '2026-08-01', '2026-08-20', true, true)"]
    rows.append("('stream_id', 'retyped', '2026-08-18', '2026-08-19', true, false)")
    assert _tell(", ".join(rows)) == [
        "  schema: stream_id retyped since 2026-08-18 until 2026-08-19, publisher missing since 2026-08-01 "
        "(see ops.schema_changes)"
    ]
    rows += [f"('old_{n}', 'missing', '2026-08-20', '2026-08-20', true, true)" for n in range(4)]
    [line] = _tell(", ".join(rows))
    assert line.startswith("  schema: stream_id retyped since 2026-08-18")  # what came before what went
    rows += [f"('column_{n}', 'new', '2026-08-20', '2026-08-20', true, true)" for n in range(4)]
    [line] = _tell(", ".join(rows))
    assert line.endswith("column_3 new since 2026-08-20, and 6 more (see ops.schema_changes)")


def _publish(connection: duckdb.DuckDBPyConnection) -> None:
    """Two days, the second provisional; one of three sessions with a cart, which was left."""
    connection.execute(
        """
        create schema ops;
        create schema marts;
        create table ops.ingest_ledger as select * from (values
            (date '2026-08-02', 's3://shop/export', timestamp '2026-08-03 06:00:00')
        ) ledger(event_date, source_uri, loaded_at);
        create table ops.schema_changes (column_name varchar, change varchar, event_date date, last_date date,
            differs_from_known_schema boolean, is_current boolean);
        create table ops.event_counts as select * from (values (20, 1, 2, 3, 4, 5), (1000, 0, 0, 0, 0, 0)) counts(
            raw_rows, quarantined_rows, duplicate_rows, synthetic_rows, internal_rows, cookieless_rows);
        create table ops.quarantined_events as select 'no name' as reason;
        create table marts.fct_sessions as select * from (values
            ('a', 0, 0.0, true, false, 10), ('a', 1, 1234.5, false, true, 20), ('b', 0, 0.0, false, false, 60)
        ) sessions(user_pseudo_id, purchases, revenue_usd, has_add_to_cart, has_purchase, session_duration_seconds);
        create table marts.agg_kpis_daily as select * from (values
            (date '2026-08-01', 1005, 3, 1, 1, 1/3, 1.0, 30.0, 1234.5, false),
            (date '2026-08-02', 0, 0, 0, 0, null, null, null, 0.0, true)
        ) kpis(kpi_date, events, sessions, sessions_with_purchase, sessions_with_add_to_cart, conversion_rate,
            cart_abandonment_rate, avg_session_duration_seconds, revenue_usd, is_provisional)
        """
    )


def test_the_data_are_told_with_what_was_left_out() -> None:
    with duckdb.connect() as connection:
        _publish(connection)
        assert summarise_data(connection) == [
            "DATA  s3://shop/export",
            "  2 days (2026-08-01 to 2026-08-02; 1 still provisional), 1,020 rows",
            "  1,005 events kept; left out: 2 duplicates, 4 internal, 3 synthetic, 1 quarantined",
            "  3 sessions of 2 users, 1 purchases, 1,234.50 USD; 5 cookieless events belong to no session",
            "    quarantined: 1 × no name",
        ]


def test_data_that_were_read_from_two_places_name_both_and_the_last_first() -> None:
    with duckdb.connect() as connection:
        _publish(connection)
        connection.execute(
            "insert into ops.ingest_ledger values (date '2026-08-01', 'sample', timestamp '2026-08-02 06:00:00'), "
            "(date '2026-07-31', 'sample', timestamp '2026-08-04 06:00:00')"
        )
        assert summarise_data(connection)[0] == "DATA  sample (2 days); s3://shop/export (1 days)"


def test_a_day_without_sessions_has_no_rates() -> None:
    with duckdb.connect() as connection:
        _publish(connection)
        assert summarise_kpis(connection) == [
            "KPIS OF THE LAST DAYS",
            "  date        sessions  conversion  cart abandonment  avg. duration  revenue USD",
            "  2026-08-01         3      33.3 %           100.0 %           30 s     1,234.50",
            "  2026-08-02         0           -                 -              -         0.00  provisional",
            "  all                       33.3 %           100.0 %           30 s",
        ]
