"""Runs a suite as a Great Expectations checkpoint over tables in DuckDB."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from expectations.suites import Expectation, Suite

SHOWN_ROWS = 5  # examples in a message


@dataclass(frozen=True)
class Outcome:
    """How one expectation fared. `observed` is one line of text; an error is a miss of severity fail.

    `rows` are what was not expected, each with its `subject`.
    """

    expectation: Expectation
    success: bool
    observed: str
    unexpected_count: int | None
    is_error: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stops(self) -> bool:
        """Whether this outcome stops the publication."""
        return not self.success and (self.is_error or self.expectation.severity == "fail")


def run_checkpoint(suite: Suite, database: str) -> list[Outcome]:
    """Validate the suite's tables in a named in-memory DuckDB database; outcomes in the suite's order.

    Writes no file and makes no network call.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    from expectations.dialect import URL_SCHEME, register_dialect

    register_dialect()
    with _quiet():
        context = gx.get_context(mode="ephemeral", project_config=_build_config())
        source = context.data_sources.add_sql("duckdb", connection_string=f"{URL_SCHEME}:///{database}")
        definitions = []
        for table in suite.tables:
            name = f"{suite.suite}.{table}"
            expectations = [_to_gx(entry) for entry in suite.expectations if entry.table == table]
            definition = gx.ValidationDefinition(
                name=name,
                data=source.add_table_asset(table, table_name=table).add_batch_definition_whole_table(table),
                suite=context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations)),
            )
            definitions.append(context.validation_definitions.add(definition))
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(
                name=suite.suite,
                validation_definitions=definitions,
                # `subject` is in every table and says what a row is about.
                result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["subject"]},
            )
        )
        result = checkpoint.run()
    by_name = {
        entry.expectation_config.meta["name"]: entry
        for table_result in result.run_results.values()
        for entry in table_result.results
        if entry.expectation_config is not None
    }
    return [_read_outcome(expectation, by_name[expectation.name]) for expectation in suite.expectations]


def _build_config() -> Any:
    """A context that keeps everything in memory: the suite files are the source, and the results are kept by us."""
    from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig

    def in_memory(class_name: str) -> dict[str, Any]:
        return {"class_name": class_name, "store_backend": {"class_name": "InMemoryStoreBackend"}}

    return DataContextConfig(
        config_version=4.0,
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
        stores={
            "expectations_store": in_memory("ExpectationsStore"),
            "validation_results_store": in_memory("ValidationResultsStore"),
            "checkpoint_store": in_memory("CheckpointStore"),
            "validation_definition_store": in_memory("ValidationDefinitionStore"),
        },
        expectations_store_name="expectations_store",
        checkpoint_store_name="checkpoint_store",
        validation_results_store_name="validation_results_store",
        data_docs_sites={},
        fluent_datasources={},
    )


def _to_gx(expectation: Expectation) -> Any:
    """The Great Expectations object of an entry; raises `AttributeError` for a class that does not exist."""
    import great_expectations.expectations as gxe

    return getattr(gxe, expectation.expect)(
        **expectation.arguments,
        description=f"{expectation.description} ({expectation.severity})",
        severity="critical" if expectation.severity == "fail" else "warning",
        notes=expectation.what_to_do,
        meta={"name": expectation.name},
    )


def _read_outcome(expectation: Expectation, entry: Any) -> Outcome:
    """Put a Great Expectations result into one line of text."""
    errors = _list_errors(entry.exception_info)
    if errors:
        return Outcome(expectation, False, f"could not be evaluated: {'; '.join(errors)}", None, is_error=True)
    result = entry.result or {}
    rows = _list_rows(result)
    examples = [describe_row(row) for row in rows[:SHOWN_ROWS]]
    count = result.get("unexpected_count")
    if count is None and expectation.expect == "UnexpectedRowsExpectation":
        count = result.get("observed_value")
    if entry.success:
        checked = result.get("element_count")
        observed = f"{checked:,} checked" if checked is not None else f"observed {result.get('observed_value')}"
    elif examples:
        total = max(count or 0, len(rows))
        rest = f"; and {total - SHOWN_ROWS:,} more" if total > SHOWN_ROWS else ""
        observed = "; ".join(examples) + rest
    else:
        observed = f"observed {result.get('observed_value')}"
    return Outcome(expectation, bool(entry.success), observed, count, rows=rows)


def _list_errors(exception_info: dict[str, Any]) -> list[str]:
    """Messages of what was raised; the info is one record, or one per metric."""
    records = [exception_info] if "raised_exception" in exception_info else list(exception_info.values())
    return sorted({str(record["exception_message"]).strip() for record in records if record.get("raised_exception")})


def _list_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The unexpected rows that a result carries, each with its `subject`, by what they say.

    A database gives them in any order; a message about the same rows is the same message.
    """
    rows = result.get("unexpected_index_list") or (result.get("details") or {}).get("unexpected_rows") or []
    return sorted((dict(row) for row in rows), key=describe_row)


def describe_row(row: Mapping[str, Any]) -> str:
    """`subject: column = value`; a value that the subject already says is left out."""
    subject = "" if row.get("subject") is None else str(row["subject"])
    values = ", ".join(
        f"{name} = {_format(value)}"
        for name, value in row.items()
        if name != "subject" and not (isinstance(value, str) and value in subject)
    )
    return ": ".join(part for part in (subject, values) if part)


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Great Expectations' progress lines and hints to itself; its errors come back in the results."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
