"""Finds SQL in models and project macros that only one engine understands: its place is a macro in macros/engine.

What is allowed is a list of what DuckDB, Spark and BigQuery read alike, or all but alike; anything else is refused, so
that a new function is looked at once. `python -m tests.dbt_project.portability` prints what it finds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from foundation.settings import PROJECT_DIR

PROJECT = PROJECT_DIR / "dbt_project"
_FUNCTIONS = """
    abs avg cast ceil coalesce count dense_rank extract exp first_value floor greatest lag last_value lead least lower
    max min nullif power rank replace round row_number sqrt substr sum trim try_cast upper
"""
# What may stand before a bracket without being a function; `values` and `as` name columns there.
_WORDS = """
    all and as between by case cross distinct else except exists from having in inner intersect is join left like limit
    not on or over partition select then union using values when where with
"""
FUNCTIONS, WORDS = frozenset(_FUNCTIONS.split()), frozenset(_WORDS.split())
_VARCHAR = "the type varchar; write string"
REFUSED = {
    r"::": "a cast with ::; write cast(… as …)",
    r"\bvarchar\b": _VARCHAR,
    r"\bfilter\s*\(": "filter (where …); use count_where, max_where or earliest_where, or a case in the aggregate",
    r"\bunion\b(?!\s+(all|distinct)\b)": "a bare union; write union distinct or union all",
    r"\bexcept\b": "except; use except_distinct",
    r"[\w)\]]\s*\[": "a list or its element; use a macro of lists",
    r"\blambda\b": "a lambda; use a macro of lists",
    r"\bcreate\s+(or\s+replace\s+)?(table|view)\b": "a statement; use keep_as",
    r"\b(asof|qualify|pivot|unpivot|ilike|similar\s+to|group\s+by\s+all|order\s+by\s+all)\b": "a clause of one engine",
    r"\bexclude\b|\bcolumns\s*\(": "select * with changes; name the columns",
}
_JINJA = re.compile(r"{#.*?#}|{{.*?}}|{%.*?%}", re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
_CALL = re.compile(r"(?<![\w.])([a-z_]\w*)\s*\(", re.IGNORECASE)
# A text in a call of a macro is SQL, but for patterns and separators: these have no word before a bracket that counts.
_NO_SQL = re.compile(
    r"regex_extract|regex_full_match|env_var|raise_compiler_error|config\(|\bset (newer|older)\b|_pattern"
)


def list_leaks(folder: Path = PROJECT) -> list[str]:
    """`file:line: what` for each place in the models and project macros, in order."""
    files = [*sorted((folder / "models").rglob("*.sql")), *sorted((folder / "macros" / "project").rglob("*.sql"))]
    leaks = []
    for file in files:
        for line, what in sorted(find_leaks(file.read_text(encoding="utf-8"))):
            leaks.append(f"{file.relative_to(folder)}:{line}: {what}")
    for file in sorted((folder / "models").rglob("*.yml")):
        for line, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if re.search(r"data_type:\s*varchar", text):
                leaks.append(f"{file.relative_to(folder)}:{line}: {_VARCHAR}")
    return leaks


def find_leaks(sql: str) -> Iterator[tuple[int, str]]:
    """Line and reason of what a template of SQL holds, in its text and in the texts that its Jinja hands to macros."""
    for match in _JINJA.finditer(sql):
        if match[0].startswith("{#") or _NO_SQL.search(match[0]):
            continue
        for string in _STRING.finditer(match[0]):
            start = sql.count("\n", 0, match.start() + string.start()) + 1
            yield from _find(string[1] or string[2] or "", start)
    yield from _find(_JINJA.sub(lambda match: "x" + "\n" * match[0].count("\n"), sql), 1)


def _find(text: str, first_line: int) -> Iterator[tuple[int, str]]:
    text = _TEXT.sub(lambda match: "''" + "\n" * match[0].count("\n"), _COMMENT.sub("", text))
    for pattern, reason in REFUSED.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            yield first_line + text.count("\n", 0, match.start()), reason
    for match in _CALL.finditer(text):
        name = match[1].lower()
        # a table's columns after its alias: `join x as series (a, b)`
        is_alias = re.search(r"\bas\s+$", text[: match.start()], re.IGNORECASE)
        if name not in FUNCTIONS | WORDS and not is_alias and name != "x":
            yield (
                first_line + text.count("\n", 0, match.start()),
                f"the function {name}; if every engine has it, name it in {Path(__file__).name}, else write a macro",
            )


if __name__ == "__main__":
    found = list_leaks()
    print("\n".join(found) or "no SQL of one engine outside macros/engine")
    sys.exit(bool(found))
