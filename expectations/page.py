"""The data docs: a page a suite with the newest verdict on each expectation, and an index with the runs before.

Not Great Expectations' own pages: those load scripts from several CDNs and write what is in the data as it is, so that
a visitor could put a script into them.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path

from expectations.checkpoint import Outcome, describe_row
from expectations.suites import Suite
from foundation.settings import Settings
from foundation.state import read_rows

KEPT_RUNS = 20  # of each suite on the index; all results stay longer, in validation_results
SHOWN_ROWS = 50  # examples a page shows of what an expectation did not expect

# No script runs and nothing is fetched, whatever should get into a page.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1f2933 }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid #d9dfe5 }
th { font-weight: 600; color: #52606d } td { overflow-wrap: anywhere }
td:first-child, td:nth-child(2) { white-space: nowrap; overflow-wrap: normal }
.failed { color: #b42318; font-weight: 600 } .warned { color: #8a5a00; font-weight: 600 } .passed { color: #1a7f4b }
p, li { overflow-wrap: anywhere } ul { margin: .3rem 0; padding-left: 1.1rem } .faint { color: #52606d }
"""


def data_docs_dir(settings: Settings) -> Path:
    """The pages of all suites."""
    return settings.docs_dir / "data_docs"


def write_pages(
    settings: Settings, suite: Suite, outcomes: Sequence[Outcome], *, run_id: str, scope: str, moment: dt.datetime
) -> Path:
    """Write the page of a suite that has just been validated, and the index; returns the suite's page."""
    folder = data_docs_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.iterdir(), *((settings.home / "validation" / name) for name in ("results", "suites"))):
        if path.is_dir():  # an older Funnelhouse's, with unescaped data
            shutil.rmtree(path)
    page = folder / f"{suite.suite}.html"
    # a run without new days has nothing to say about the landing, and leaves what the last one with days has said
    if outcomes or not page.exists():
        _replace(page, _render_suite(suite, outcomes, run_id=run_id, scope=scope, moment=moment))
    _replace(folder / "index.html", _render_index(settings))
    return page


def _render_suite(suite: Suite, outcomes: Sequence[Outcome], *, run_id: str, scope: str, moment: dt.datetime) -> str:
    ordered = sorted(outcomes, key=lambda outcome: (outcome.success, not outcome.stops))
    rows = "".join(
        f"<tr><td>{_mark(outcome.success, stops=outcome.stops)}</td><td><b>{escape(outcome.expectation.name)}</b></td>"
        f"<td>{escape(outcome.expectation.description)}{_advise(outcome)}</td><td>{_show_observed(outcome)}</td></tr>"
        for outcome in ordered
    )
    table = f"<table><tr><th></th><th>expectation</th><th>expected</th><th>observed</th></tr>{rows}</table>"
    return _page(
        f"Validation: {suite.suite}",
        f'<p><a href="index.html">All suites</a></p><h1>{escape(suite.suite)}</h1><p>{escape(suite.description)}</p>'
        f'<p class="faint">Run {escape(run_id)}, {moment:%Y-%m-%d %H:%M} UTC, over {escape(scope)}. What stops a '
        f"publication is <span class='failed'>failed</span>, anything else a <span class='warned'>warning</span>.</p>"
        + (table if outcomes else "<p>There was nothing to validate.</p>"),
    )


def _advise(outcome: Outcome) -> str:
    return "" if outcome.success else f"<p class='faint'>What to do: {escape(outcome.expectation.what_to_do)}</p>"


def _show_observed(outcome: Outcome) -> str:
    if len(outcome.rows) < 2 or outcome.success:
        return escape(outcome.observed)
    items = "".join(f"<li>{escape(describe_row(row))}</li>" for row in outcome.rows[:SHOWN_ROWS])
    total = max(outcome.unexpected_count or 0, len(outcome.rows))
    rest = f"<p class='faint'>and {total - SHOWN_ROWS:,} more</p>" if total > SHOWN_ROWS else ""
    return f"<ul>{items}</ul>{rest}"


def _render_index(settings: Settings) -> str:
    results = read_rows(
        settings,
        "validation_results",
        """
        select suite, run_id, validated_at, sum(success) as passed,
            sum(success = 0 and severity = 'warn') as warned, sum(success = 0 and severity = 'fail') as failed,
            group_concat(case when success = 0 then expectation end, ', ') as unmet
        from validation_results group by suite, run_id, validated_at order by validated_at desc
        """,
    )
    parts = ["<h1>Validation</h1><p>What Great Expectations found in the last runs, suite by suite.</p>"]
    for name in ("landing", "marts", "scores"):
        runs = [row for row in results if row["suite"] == name][:KEPT_RUNS]
        rows = "".join(
            f"<tr><td>{_mark(not row['warned'] and not row['failed'], stops=bool(row['failed']))}</td>"
            f"<td>{escape(row['validated_at'])}</td><td>{escape(row['run_id'])}</td>"
            f"<td>{row['passed']} of {row['passed'] + row['warned'] + row['failed']}</td>"
            f"<td>{escape(row['unmet'] or '')}</td></tr>"
            for row in runs
        )
        has_page = (data_docs_dir(settings) / f"{name}.html").exists()
        title = f'<a href="{name}.html">{name}</a>' if has_page else name
        head = "<tr><th></th><th>when</th><th>run</th><th>passed</th><th>not met</th></tr>"
        parts.append(f"<h2>{title}</h2>" + (f"<table>{head}{rows}</table>" if runs else "<p>Not validated yet.</p>"))
    return _page("Validation", "".join(parts))


def _mark(success: bool, *, stops: bool) -> str:
    name = "passed" if success else "failed" if stops else "warned"
    return f"<span class='{name}'>{name}</span>"


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _replace(path: Path, text: str) -> None:
    """Whoever opens the page gets the old one or the new one."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8", errors="replace")
    temporary.replace(path)
