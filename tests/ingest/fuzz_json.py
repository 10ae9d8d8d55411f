"""Mutations of a day of newline-delimited JSON: values, keys and shapes at any depth, and the text itself."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

Events = list[dict[str, Any]]
Place = tuple[Any, Any]  # a record or list, and the key or index in it

_RAW = re.compile(r'"@raw:(\d+)@"')

ODD_KEYS = [
    "",
    " ",
    "a b",
    "a.b",
    "it's",
    'say "x"',
    "back\\slash",
    "{brace}",
    "{{ jinja }}",
    "[0]",
    "$",
    "line\nend",
    "tab\t",
    "nul\x00key",
    "bell\x07",
    "right\u202eleft",
    "line\u2028sep",
    "schlüssel",
    "İ",
    "ß",
    "🛒",
    "\ud800",
    "filename",
    "FileName",
    "file_row_number",
    "__row",
    "__ROW",
    "rowid",
    "exported_filename",
    "items__as_exported",
    "event_params__AS_EXPORTED",
    "event_date_1",
    "Event_Date",
    "EVENT_NAME",
    "event_name ",
    "lake_day",
    "event_key",
    "found",
    "x0",
    "j",
    "json",
    "select",
    "from",
    "null",
    "struct_pack",
    "k" * 300,
    "long " * 20_000,
]
DATES = [
    "2026-08-01",
    "20260231",
    "00000000",
    "99999999",
    "20260801T00",
    " 20260801 ",
    "20260801.0",
    "1 Aug 2026",
    "",
    "-20260801",
    "٢٠٢٦٠٨٠١",
    20260801,
    20260801.0,
    1785542400000,
    None,
    True,
    {"value": "20260801"},
    ["20260801"],
]

_LONG_NUMBERS = ["1e400", "-0", "-0.0", "1E+2", "9" * 40, "9" * 400, "9" * 5_000, "0." + "1" * 400, "-" + "9" * 39]
_NOT_JSON = ["NaN", "Infinity", "-Infinity", "nan", "undefined", "01", "+1", ".5", "1.", "'x'", "0x1F"]
_TEXTS_LIKE_OTHER_TYPES = [
    *["", " ", "0", " 12 ", "1.5", "1e3", "-5", "null", "NaN", "inf", "true", "(not set)", "2026-08-01", "10:00:00"],
    *["2026-08-01 10:00:00", "2026-08-01T10:00:00.123Z", "00000000-0000-0000-0000-000000000001"],
    *[str(2**63), str(2**63 - 1), "9" * 400, "[]", "{}", '{"a": 1}', "[1"],
]
_ODD_TEXTS = [
    "\x00",
    "a\x00b",
    "\ud800",
    "\udc00\ud800",
    "🛒",
    "\u202e",
    "\u2028",
    "\x1b[31m",
    "x" * 100_000,
    "\\",
    '"',
]
_ODD_TEXTS_AS_WRITTEN = ['"\\ud800"', '"\\u0000"', '"\\x41"', '"\ud800"']
_ODD_SHAPES: list[Any] = [
    *[[], {}, [[]], [{}], [None], [1, "a", None, {}], {"a": 1}, {"": 1}, {"key": 1}, [[{"key": "a"}]]],
    *[{"string_value": "x"}, {"list": [{"element": 1}]}, {"value": {"value": {}}}],
]


class Dumper:
    """Writes events as JSON; text that no Python value stands for is put in as it is."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def raw(self, text: str) -> str:
        """A value that is written as this very text."""
        self._texts.append(text)
        return f"@raw:{len(self._texts) - 1}@"

    def dumps(self, value: Any) -> str:
        """JSON, or what was asked for in its place; raw texts may hold raw texts."""
        text = json.dumps(value)
        while _RAW.search(text):
            text = _RAW.sub(lambda match: self._texts[int(match[1])], text)
        return text


def mutate_events(random_: random.Random, events: Events) -> tuple[str, bytes]:
    """One to three mutations of values and keys, in one row, some or all; what was done, and the file's content."""
    dumper = Dumper()
    events = copy.deepcopy(events)
    names = []
    for _ in range(random_.choice([1, 1, 2, 3])):
        name = random_.choice(list(_MUTATIONS))
        share = random_.choice([0, 0.3, 1])
        chosen = [event for event in events if random_.random() < share] or [random_.choice(events)]
        state = random_.getstate()
        for event in chosen:
            if random_.random() < 0.7:  # mostly the same thing in every row, sometimes one of its own
                random_.setstate(state)
            if event:
                _MUTATIONS[name](random_, dumper, event)
        names.append(f"{name} in {len(chosen)} rows")
    return ", ".join(names), "".join(dumper.dumps(event) + "\n" for event in events).encode("utf-8", "surrogatepass")


def mutate_text(random_: random.Random, events: Events) -> tuple[str, bytes]:
    """One mutation of the text of a whole file; what was done, and the file's content."""
    lines = [json.dumps(event).encode() for event in events]
    name = random_.choice(list(_TEXTS))
    return name, _TEXTS[name](random_, lines)


def _pick_place(random_: random.Random, event: dict[str, Any]) -> Place:
    """A value at any depth, as likely a column as something deep in one."""
    holder: Any = event
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = random_.choice(keys)
        value = holder[key]
        if not isinstance(value, (dict, list)) or not value or random_.random() < 0.35:
            return holder, key
        holder = value


def _pick_record(random_: random.Random, event: dict[str, Any]) -> dict[str, Any]:
    for _ in range(20):
        holder, key = _pick_place(random_, event)
        if isinstance(holder, dict):
            return holder
        if isinstance(holder[key], dict) and holder[key]:
            value: dict[str, Any] = holder[key]
            return value
    return event


def _nest(random_: random.Random, dumper: Dumper) -> str:
    depth = random_.choice([3, 20, 100, 500, 1_000, 3_000, 20_000])
    before, inside, after = random_.choice(
        [("[", "", "]"), ('{"a":', "1", "}"), ('[{"key":', "[]", "}]"), ("[", "1", "")]
    )
    return dumper.raw(before * depth + inside + after * depth)


def _odd_value(random_: random.Random, dumper: Dumper) -> Any:
    kind = random_.randrange(8)
    if kind == 0:
        return random_.choice([None, True, False, 0, -1, 1.5, 1e308, 5e-324, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1])
    if kind == 1:
        return dumper.raw(random_.choice(_LONG_NUMBERS))
    if kind == 2:
        return dumper.raw(random_.choice(_NOT_JSON))
    if kind == 3:
        return random_.choice(_TEXTS_LIKE_OTHER_TYPES)
    if kind == 4:
        return random_.choice([*_ODD_TEXTS, *map(dumper.raw, _ODD_TEXTS_AS_WRITTEN)])
    if kind == 5:
        return copy.deepcopy(random_.choice(_ODD_SHAPES))
    if kind == 6:
        return _nest(random_, dumper)
    many: list[Any] = [
        {f"k{number}": number for number in range(random_.choice([200, 3_000]))},
        [{f"k{number}": number} for number in range(300)],
        list(range(5_000)),
        [[1], "a"] * 500,
    ]
    return random_.choice(many)


def _replace_value(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    holder, key = _pick_place(random_, event)
    holder[key] = _odd_value(random_, dumper)


def _replace_column(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    event[random_.choice(list(event))] = _odd_value(random_, dumper)


def _delete_key(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    holder, key = _pick_place(random_, event)
    del holder[key]


def _rename_key(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    record = _pick_record(random_, event)
    if not record:
        return
    key = random_.choice(list(record))
    new = random_.choice([key.upper(), key.title(), key + " ", key + "_1", key[:-1], random_.choice(ODD_KEYS)])
    items = [(new if name == key else name, value) for name, value in record.items()]
    record.clear()
    record.update(items)


def _add_key(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    record = random_.choice([event, _pick_record(random_, event)])
    record[random_.choice(ODD_KEYS)] = random_.choice([1, "x", None, [], {}, _odd_value(random_, dumper)])


def _double_key(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    """The same key twice in one record, or in another case."""
    holder, key = _pick_place(random_, event)
    record = holder[key]
    if not isinstance(record, dict) or not record:
        record, holder, key = _pick_record(random_, event), None, None
    if not record:
        return
    twice = random_.choice(list(record))
    if holder is None:
        record[twice.upper()] = random_.choice([record[twice], _odd_value(random_, dumper)])
        return
    pairs = [f"{json.dumps(name)}: {dumper.dumps(value)}" for name, value in record.items()]
    name = random_.choice([twice, twice.upper(), twice.title()])
    pairs.insert(random_.randrange(len(pairs) + 1), f"{json.dumps(name)}: {dumper.dumps(_odd_value(random_, dumper))}")
    holder[key] = dumper.raw("{" + ", ".join(pairs) + "}")


def _wrap(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    holder, key = _pick_place(random_, event)
    value = holder[key]
    unwrapped = value[0] if isinstance(value, list) and value else value
    holder[key] = random_.choice(
        [[value], {"value": value}, unwrapped, json.dumps(value), {"list": [{"element": value}]}]
    )


def _swap(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    first, second = random_.choices(list(event), k=2)
    event[first], event[second] = event[second], event[first]


def _odd_params(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    column = random_.choice(["event_params", "user_properties", "items"])
    sound = event.get(column)
    if not isinstance(sound, list) or not sound:  # an earlier mutation was there
        sound = [{"key": "k", "value": {"string_value": "v"}}]
    event[column] = random_.choice(
        [
            None,
            "",
            {},
            {"ga_session_id": 1},
            json.dumps(sound),
            sound[0],
            [sound],
            [*sound, None, 1, "a", [], {}],
            [None],
            [[]],
            [{"key": None}],
            [{"key": {}, "value": []}],
            [{"key": "k", "value": "v"}],
            [*sound, *sound] * 200,
        ]
    )


def _odd_date(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    event["event_date"] = random_.choice(DATES)


def _odd_time(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    times = [-1, 0, 1, 2**62, 2**63 - 1, -(2**63), 2**63, 253402300800000000, -62135596800000001, 9.1e18, 1.5]
    column = random_.choice(["event_timestamp", "event_timestamp", "event_previous_timestamp", "batch_page_id"])
    time = random_.choice(times)
    event[column] = random_.choice([time, str(time)])


def _odd_amount(random_: random.Random, dumper: Dumper, event: dict[str, Any]) -> None:
    amount = random_.choice(
        [-1, 1e308, -1e308, 1e18, 2**63 - 1, str(2**63 - 1), str(-(2**63)), "NaN", "Infinity", "-inf", 5e-324]
    )
    item = {"item_id": "a", "price": amount, "quantity": amount, "item_revenue_in_usd": amount}
    event["items"] = [item] * random_.choice([1, 3])
    event["ecommerce"] = {"purchase_revenue_in_usd": amount, "total_item_quantity": amount, "refund_value": amount}
    event["event_value_in_usd"] = amount
    event["event_params"] = [
        {"key": name, "value": {random_.choice(["int_value", "double_value", "string_value"]): amount}}
        for name in ("ga_session_id", "ga_session_number", "engagement_time_msec", "value", "percent_scrolled")
    ]


Mutation = Callable[[random.Random, Dumper, dict[str, Any]], None]
_MUTATIONS: dict[str, Mutation] = {
    "value replaced": _replace_value,
    "column replaced": _replace_column,
    "key deleted": _delete_key,
    "key renamed": _rename_key,
    "key added": _add_key,
    "key doubled": _double_key,
    "value wrapped": _wrap,
    "columns swapped": _swap,
    "odd parameters": _odd_params,
    "odd date": _odd_date,
    "odd time": _odd_time,
    "odd amount": _odd_amount,
}


def _join(lines: list[bytes], end: bytes = b"\n") -> bytes:
    return end.join(lines) + end


def _insert_bytes(random_: random.Random, lines: list[bytes]) -> bytes:
    text = bytearray(_join(lines))
    odd = [
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\x00",
        b"\xf5\x80\x80\x80",
        b"\xef\xbb\xbf",
        b"\x1a",
        b"\r",
        b"\x0c",
        b"\xc0\x80",
    ]
    for _ in range(random_.choice([1, 1, 5])):
        place = random_.randrange(len(text))
        text[place:place] = random_.choice(odd)
    return bytes(text)


def _flip_bytes(random_: random.Random, lines: list[bytes]) -> bytes:
    text = bytearray(_join(lines))
    for _ in range(random_.choice([1, 3, 30])):
        text[random_.randrange(len(text))] = random_.randrange(256)
    return bytes(text)


def _damage_name(random_: random.Random, lines: list[bytes]) -> bytes:
    names = [b"event_date", b"string_value", b"geo", b"stream_id", b"publisher", b"category", b"event_name"]
    name = random_.choice(names)
    return _join(lines).replace(
        b'"' + name, b'"' + random_.choice([b"\xff", b"\xc3(", b"\x00", b"\xed\xa0\x80", b"\\ud800", b"\\u0000"])
    )


def _cut(random_: random.Random, lines: list[bytes]) -> bytes:
    text = _join(lines)
    return text[: random_.randrange(len(text))]


def _cut_a_line(random_: random.Random, lines: list[bytes]) -> bytes:
    place = random_.randrange(len(lines))
    line = lines[place]
    lines[place] = random_.choice([line[: random_.randrange(len(line))], line[random_.randrange(len(line)) :]])
    return _join(lines)


def _odd_line(random_: random.Random, lines: list[bytes]) -> bytes:
    odd = [
        b"",
        b"   ",
        b"\t",
        b"null",
        b"1",
        b'"text"',
        b"[]",
        b"[{}]",
        b"{}",
        b"{",
        b"}",
        b"# comment",
        b"// x",
        b"NaN",
        b"\x00",
    ]
    odd += [
        b"{}{}",
        b"{},",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a" 1}',
        b"\xef\xbb\xbf{}",
        b'{"a": "' + b"x" * 2_000_000 + b'"}',
        b"[" * 5_000,
    ]
    for _ in range(random_.choice([1, 1, 10])):
        lines.insert(random_.randrange(len(lines) + 1), random_.choice(odd))
    return _join(lines)


def _spread(random_: random.Random, lines: list[bytes]) -> bytes:
    """One record over several lines."""
    return _join([json.dumps(json.loads(line), indent=2).encode() for line in lines])


def _many_keys(random_: random.Random, lines: list[bytes]) -> bytes:
    """Thousands of keys, each in one row."""
    count = random_.choice([20, 20, 200])
    more = [{**json.loads(line), **{f"k{number}_{n}": n for n in range(count)}} for number, line in enumerate(lines)]
    return _join([json.dumps(event).encode() for event in more])


_TEXTS: dict[str, Callable[[random.Random, list[bytes]], bytes]] = {
    "bytes inserted": _insert_bytes,
    "bytes overwritten": _flip_bytes,
    "name damaged": _damage_name,
    "cut": _cut,
    "line cut": _cut_a_line,
    "odd lines": _odd_line,
    "records over several lines": _spread,
    "many keys": _many_keys,
    "CRLF": lambda _, lines: _join(lines, b"\r\n"),
    "CR": lambda _, lines: _join(lines, b"\r"),
    "byte order mark": lambda _, lines: b"\xef\xbb\xbf" + _join(lines),
    "UTF-16": lambda random_, lines: _join(lines).decode().encode(random_.choice(["utf-16", "utf-16-be", "utf-32"])),
    "one array": lambda _, lines: b"[" + b",\n".join(lines) + b"]\n",
    "no line ends": lambda random_, lines: random_.choice([b"", b" ", b",", b"\x00"]).join(lines),
    "empty lines": lambda _, lines: b"\n\n" + _join(lines, b"\n \n\n"),
    "no last line end": lambda _, lines: b"\n".join(lines),
    "nothing": lambda random_, _: random_.choice(
        [b"", b"\n", b"  \n\r\n", b"\x00", b"\xef\xbb\xbf", b"{}\n", b"[]", b"null\n"]
    ),
    "another form": lambda random_, _: random_.choice(
        [b"event_date,event_name\n1,2\n", b"PAR1", b"\x1f\x8b\x08", b"Obj\x01", b"<html>"]
    ),
}
