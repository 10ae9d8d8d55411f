"""SQL that casts an exported column to its known type, and that finds the values such a cast would lose."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

AS_EXPORTED = "__as_exported"

# What a lambda calls an element; where a column had that name, the lambda would read the column.
_ELEMENT = '"an element"'

# A name and its type as DuckDB's Python API describes it (`id`, `children`, and its SQL text by `str`).
Field = tuple[str, Any]

_SMALL_INTEGERS = {"tinyint", "smallint", "integer", "utinyint", "usmallint", "uinteger"}
_LARGE_INTEGERS = {"bigint", "ubigint", "hugeint", "uhugeint"}
_FLOATS = {"float", "double"}
NESTED = {"struct", "list", "array", "map", "union"}
# Found on all-null values, and on values whose types have nothing in common.
_UNTYPED = {"JSON", '"NULL"'}


@dataclass(frozen=True)
class Doubt:
    """A (sub-)column whose cast may lose values, and the SQL condition that is true for a row that loses one."""

    path: str
    condition: str
    exported_type: str
    expected_type: str


@dataclass(frozen=True)
class Drift:
    """How exported columns differ from the known ones. Sub-fields are named `column.sub_field`."""

    present: set[str] = field(default_factory=set)
    with_unknown_sub_fields: set[str] = field(default_factory=set)
    unknown: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    retyped: dict[str, str] = field(default_factory=dict)


def compare_columns(known: list[Field], exported: list[Field], *, found_in_json: list[Field] | None = None) -> Drift:
    """Compare what was exported with what is known; order does not matter, nor does the case of names.

    JSON leaves nulls out and writes INT64 as strings: given `found_in_json`, what is absent says nothing and is not
    reported, and retyped is only what BigQuery's JSON would not have written like that.
    """
    drift = Drift()
    have = {name.casefold(): dtype for name, dtype in exported}
    found = {name.casefold(): dtype for name, dtype in found_in_json or []}
    known_names = {name for name, _ in known}
    for name, dtype in known:
        if name not in have:
            if found_in_json is None:
                drift.missing.append(name)
            continue
        drift.present.add(name)
        unknown: dict[str, str] = {}
        missing: list[str] = []
        retyped: dict[str, str] = {}
        _compare(name, have[name], dtype, unknown, missing, retyped)
        if found_in_json is not None:
            missing, retyped = [], {}
            _compare(name, found[name], dtype, {}, [], retyped, is_same=_is_natural_in_json)
        drift.unknown.update(unknown)
        drift.missing.extend(missing)
        drift.retyped.update(retyped)
        if unknown:
            drift.with_unknown_sub_fields.add(name)
    drift.unknown.update({name: str(dtype) for name, dtype in exported if name.casefold() not in known_names})
    return drift


def _is_same_type(exported: Any, known: Any) -> bool:
    return str(exported) == str(known)


def _is_natural_in_json(found: Any, known: Any) -> bool:
    if known.id == "bigint":
        return found.id in _LARGE_INTEGERS | {"varchar"}
    if known.id == "double":
        return found.id in _LARGE_INTEGERS | {"double"}
    if known.id == "varchar":  # detection takes some strings for dates, times or UUIDs
        return found.id not in NESTED | _LARGE_INTEGERS | _FLOATS | {"boolean"}
    return _is_same_type(found, known)


def _compare(
    path: str,
    exported: Any,
    known: Any,
    unknown: dict[str, str],
    missing: list[str],
    retyped: dict[str, str],
    *,
    is_same: Callable[[Any, Any], bool] = _is_same_type,
) -> None:
    if exported.id == known.id == "struct":
        have = {name.casefold(): dtype for name, dtype in exported.children}
        known_children = dict(known.children)
        for name, dtype in known_children.items():
            if name in have:
                _compare(f"{path}.{name}", have[name], dtype, unknown, missing, retyped, is_same=is_same)
            else:
                missing.append(f"{path}.{name}")
        unknown.update(
            {f"{path}.{name}": str(dtype) for name, dtype in exported.children if name.casefold() not in known_children}
        )
    elif known.id == "list" and (elements := _see_list(exported)):
        _compare(path, elements.dtype, known.children[0][1], unknown, missing, retyped, is_same=is_same)
    elif not is_same(exported, known) and str(exported) not in _UNTYPED:
        retyped[path] = str(exported)


def list_doubts(expression: str, exported: Any, known: Any, *, path: str, depth: int = 0) -> Iterator[Doubt]:
    """Yield a Doubt for each leaf of `exported` whose cast to `known` is not safe by the types alone."""
    if exported.id == known.id == "struct":
        known_children = dict(known.children)
        for name, dtype in exported.children:
            if name.casefold() in known_children:
                yield from list_doubts(
                    f'{expression}."{name}"',
                    dtype,
                    known_children[name.casefold()],
                    path=f"{path}.{name.casefold()}",
                    depth=depth,
                )
    elif known.id == "list" and (elements := _see_list(exported)):
        element = _name_element(depth)
        inner = list_doubts(
            element + elements.of_element, elements.dtype, known.children[0][1], path=path, depth=depth + 1
        )
        for doubt in inner:
            condition = f"len(list_filter({expression}{elements.of_list}, lambda {element}: {doubt.condition})) > 0"
            yield Doubt(doubt.path, condition, doubt.exported_type, doubt.expected_type)
    elif _is_open_json(exported, known):
        for where, condition, expected in _list_odd_shapes(expression, known, path):
            yield Doubt(where, condition, str(exported), _name_type(expected))
        yield from list_doubts(_parse_json(expression, known), _as_text(known), known, path=path, depth=depth)
    else:
        loss = _doubt_leaf(expression, exported, known, path)
        if loss is not None:
            yield Doubt(path, f"({loss})", _name_type(exported), _name_type(known))


def _name_type(dtype: Any) -> str:
    """A type as a message says it, without the fields of records."""
    return {"struct": "record", "list": "list of records"}.get(dtype.id, str(dtype))


def _doubt_leaf(expression: str, exported: Any, known: Any, path: str) -> str | None:
    """The condition under which a value that is there is lost or changed by the cast; None where that cannot be."""
    source, target = exported.id, known.id
    if str(exported) == str(known) or _is_date_as_date(exported, path):
        return None
    if source in NESTED or target in NESTED:
        return f"{expression} is not null"
    attempt = f"try_cast({expression} as {known})"
    lost = f"{expression} is not null and {attempt} is null"
    if target == "varchar":
        return None
    if source == "varchar":
        # A cast to an integer would round '1.5'.
        whole = f" or not regexp_full_match(trim({expression}), '[+-]?[0-9]+(\\.0*)?')" if target == "bigint" else ""
        return f"{expression} is not null and ({attempt} is null{whole})"
    if target == "bigint":
        if source in _SMALL_INTEGERS | {"boolean", "bigint"}:
            return None
        if source in _FLOATS:
            return f"{lost} or {expression} <> trunc({expression})"
        if source in _LARGE_INTEGERS | {"decimal"}:
            return f"{lost} or {attempt} <> {expression}"
    if target == "double":
        if source in _SMALL_INTEGERS | _FLOATS:
            return None
        if source in _LARGE_INTEGERS | {"decimal"}:
            return f"{lost} or try_cast({attempt} as {exported}) is distinct from {expression}"
    if target == "boolean" and source in _SMALL_INTEGERS | _LARGE_INTEGERS:
        return f"{expression} not in (0, 1)"
    return f"{expression} is not null"


def write_cast(expression: str, exported: Any, known: Any, *, column: str, is_doubtful: bool) -> str:
    """The SQL expression of one column in its known type; values that do not cast become null.

    `is_doubtful` says that some rows hold a value that does not cast: then each leaf is guarded by its own condition.
    """
    if not is_doubtful and _casts_by_name(exported, known):
        return expression if str(exported) == str(known) else f"try_cast({expression} as {known})"
    return f"cast({_build(expression, exported, known, column, depth=0)} as {known})"


def _casts_by_name(exported: Any, known: Any) -> bool:
    """True when one DuckDB cast does it: structs cast by field name as long as they share one.

    A cast leaves a name in the case it has; a field that is known in another case is to be named anew.
    """
    if exported.id == known.id == "struct":
        known_children = dict(known.children)
        if any(name not in known_children and name.casefold() in known_children for name, _ in exported.children):
            return False
        shared = [(dtype, known_children[name]) for name, dtype in exported.children if name in known_children]
        return bool(shared) and all(_casts_by_name(ours, theirs) for ours, theirs in shared)
    if exported.id == known.id == "list":
        return _casts_by_name(exported.children[0][1], known.children[0][1])
    if exported.id in NESTED or known.id in NESTED:
        return False
    return not (known.id == "varchar" and exported.id in _FLOATS | {"date"})


def _build(expression: str, exported: Any, known: Any, path: str, depth: int) -> str:
    if str(exported) == str(known):
        return expression
    if exported.id == known.id == "struct":
        have = {name.casefold(): (name, dtype) for name, dtype in exported.children}
        members = []
        for name, dtype in known.children:
            if name in have:
                own_name, own_type = have[name]
                member = _build(f'{expression}."{own_name}"', own_type, dtype, f"{path}.{name}", depth)
            else:
                member = f"null::{dtype}"
            members.append(f'"{name}" := {member}')
        return f"case when {expression} is not null then struct_pack({', '.join(members)}) end"
    if known.id == "list" and (elements := _see_list(exported)):
        element = _name_element(depth)
        inner = _build(element + elements.of_element, elements.dtype, known.children[0][1], path, depth + 1)
        return f"list_transform({expression}{elements.of_list}, lambda {element}: {inner})"
    if _is_open_json(exported, known):
        # a list of one names the parsed value, so that each row is parsed once and not for each of its fields
        element = _name_element(depth)
        inner = _build(element, _as_text(known), known, path, depth + 1)
        value = f"list_transform([{_parse_json(expression, known)}], lambda {element}: {inner})[1]"
        return f"case when json_type({expression}) = '{_json_kind(known)}' then {value} end"
    if _is_date_as_date(exported, path):
        return f"strftime({expression}, '%Y%m%d')"
    if exported.id in NESTED or known.id in NESTED:
        return f"null::{known}"
    if known.id == "varchar" and exported.id in _FLOATS:
        # Whole numbers read as floats are ids that shared their column with nulls: 123, not 123.0.
        is_whole = f"{expression} = trunc({expression}) and abs({expression}) < 9e15"
        whole = f"cast(cast({expression} as bigint) as varchar)"
        return f"case when {is_whole} then {whole} else cast({expression} as varchar) end"
    condition = _doubt_leaf(expression, exported, known, path)
    if condition is None:
        return f"cast({expression} as {known})"
    return f"case when not ({condition}) then try_cast({expression} as {known}) end"


def _name_element(depth: int) -> str:
    return f'"an element at {depth}"'


def _is_open_json(exported: Any, known: Any) -> bool:
    """True for JSON where a record or a list belongs: values of several shapes, each to be looked at by itself."""
    return str(exported) == "JSON" and known.id in {"struct", "list"}


def _json_kind(known: Any) -> str:
    return "OBJECT" if known.id == "struct" else "ARRAY"


def _list_odd_shapes(expression: str, known: Any, path: str, json_path: str = "$") -> Iterator[tuple[str, str, Any]]:
    """Yield path, condition and expected type for each place where a record or a list must be and something else is."""
    is_odd = f"not in ('{_json_kind(known)}', 'NULL')"
    if "[*]" in json_path:  # such a path leads to a list of values
        odd = (
            f"list_filter(json_extract({expression}, '{json_path}'), lambda {_ELEMENT}: json_type({_ELEMENT}) {is_odd})"
        )
        yield path, f"(len({odd}) > 0)", known
    else:
        yield path, f"(json_type({expression}, '{json_path}') {is_odd})", known
    if known.id == "list":
        yield from _list_odd_shapes(expression, known.children[0][1], path, json_path + "[*]")
        return
    for name, dtype in known.children:
        if dtype.id in {"struct", "list"}:
            yield from _list_odd_shapes(expression, dtype, f"{path}.{name}", f'{json_path}."{name}"')


def _parse_json(expression: str, known: Any) -> str:
    """SQL that reads JSON as `known` with text in all leaves; where the shape is another one, it gives nulls."""
    return f"from_json({expression}, '{json.dumps(_describe_as_text(known))}')"


def _describe_as_text(known: Any) -> Any:
    if known.id == "struct":
        return {name: _describe_as_text(dtype) for name, dtype in known.children}
    return [_describe_as_text(known.children[0][1])] if known.id == "list" else "VARCHAR"


def _as_text(known: Any) -> Any:
    """The type that `_parse_json` gives."""
    if known.id == "struct":
        return duckdb.struct_type({name: _as_text(dtype) for name, dtype in known.children})
    return duckdb.list_type(_as_text(known.children[0][1])) if known.id == "list" else duckdb.sqltype("VARCHAR")


@dataclass(frozen=True)
class _Elements:
    """How to reach the elements of a list in SQL, and their type."""

    dtype: Any
    of_list: str = ""
    of_element: str = ""


def _see_list(exported: Any) -> _Elements | None:
    """See a list in a list, in an array, and in the two records that Parquet writers without list annotations leave."""
    if exported.id in {"list", "array"}:
        return _Elements(exported.children[0][1])
    if exported.id == "struct" and [name for name, _ in exported.children] == ["list"]:
        inner = exported.children[0][1]
        if inner.id == "list" and inner.children[0][1].id == "struct" and len(inner.children[0][1].children) == 1:
            name, dtype = inner.children[0][1].children[0]
            if name in {"element", "item", "array_element"}:
                return _Elements(dtype, of_list='."list"', of_element=f'."{name}"')
    return None


def _is_date_as_date(exported: Any, path: str) -> bool:
    return path == "event_date" and exported.id == "date"
