"""Whatever stands in a YAML file ends in one line with the place, within a second."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from foundation.yaml_file import YamlFile, YamlFileError

BOMB = "\n".join(
    [
        "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]",
        *(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ]
)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (BOMB, 1, "more than 50,000 values with aliases expanded"),
        ("a: 1\nb: &b\n  c: *b\n", 2, "refers to itself"),
        ("a: 1\nb: " + "[" * 100_000, 2, "nested more than 50 levels deep"),
        ("a:\n" + "".join(f"{' ' * level}- \n" for level in range(1, 900)), 51, "nested more than 50 levels deep"),
        ("a: 1\nb: " + "9" * 6_000, 2, "6,000 characters that is not text"),
        ("a: 1\nb: " + "1:" * 3_000 + "1", 2, "that is not text"),
        ("a: 1\nb: 2026-02-31\n", 2, "'2026-02-31' is impossible"),
        ("a: 1\na: 2\n", 2, "the key 'a' is given twice"),
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", 1, "not valid YAML"),
        ("a: \x07", 1, "not valid YAML"),
        ("a: *nothing", 1, "not valid YAML"),
        ("? [a, b]\n: c\n", 1, "not valid YAML"),
        ("a: 1\n" * 300_000, 1, "larger than 1,000,000 bytes"),
    ],
    ids=lambda value: str(value)[:24] if not isinstance(value, int) else "",
)
def test_what_no_file_needs_is_told_by_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    path = tmp_path / "file.yml"
    path.write_text(text, encoding="utf-8")
    began = time.process_time()
    with pytest.raises(YamlFileError) as caught:
        YamlFile(path)
    assert time.process_time() - began < 1.0
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{path}:{line}: ") and problem in first


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes(b"a: \xe4")
    for name in ("missing.yml", "latin.yml", "."):
        with pytest.raises(YamlFileError, match="cannot be read"):
            YamlFile(tmp_path / name)


def test_values_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    path.write_bytes("\ufeffa: 1\nb:\n  - c: 2\n  - c: 3\n    d: 2026-08-01\n".encode())
    file = YamlFile(path)
    assert file.values["b"][1]["c"] == 3
    places: list[tuple[int | str, ...]] = [(), ("b",), ("b", 1, "c"), ("b", 1, "d"), ("b", 1, "unknown"), ("b", 7)]
    assert [file.line_of(place) for place in places] == [1, 2, 4, 5, 4, 2]
    path.write_text("")
    assert YamlFile(path).values is None and YamlFile(path).line_of(("a",)) == 1
