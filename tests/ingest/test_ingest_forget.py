"""Forgetting a person: whom it covers, what goes, what stays, and that nothing comes back."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_writer import make_event, read_day, write_ndjson, write_parquet

from foundation.settings import PROJECT_DIR, Settings
from ingest.__main__ import main
from ingest.forget import MAX_LINKED_IDS, ForgetError, _placeholders, find_person, forget_person
from ingest.job import load_changed_days, plan_load
from warehouse.forgotten import ForgottenListError, read_forgotten
from warehouse.lake import partition_dir, read_manifests
from warehouse.transaction import plan_build


def _events(day: str, *people: tuple[str | None, str | None]) -> list[dict[str, Any]]:
    """An event for each pair of user_id and device."""
    return [
        make_event(number, day, user_id=user_id, user_pseudo_id=device)
        for number, (user_id, device) in enumerate(people)
    ]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ann has a phone and, through a second login on it, a tablet; Bob and an anonymous device have nothing to do
    with her."""
    folder = tmp_path / "export"
    write_parquet(
        folder / "events_20260801.parquet",
        _events("20260801", (None, "phone"), ("bob", "laptop"), (None, "other"), (None, None)),
    )
    write_ndjson(
        folder / "events_20260802.json.gz",
        _events("20260802", ("ann", "phone"), ("ann2", "phone"), ("(not set)", "other"), ("bob", "laptop")),
    )
    write_parquet(folder / "events_20260803.parquet", _events("20260803", ("ann2", "tablet"), ("null", "tablet")))
    write_parquet(folder / "events_20260804.parquet", _events("20260804", ("bob", "laptop"), ("null", "other")))
    return folder


@pytest.fixture
def settings(make_settings: Callable[..., Settings], source: Path) -> Settings:
    settings = make_settings(source=str(source))
    load_changed_days(settings, progress=False)
    return settings


def _lake(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    return {
        manifest.event_date: read_day(settings, manifest.event_date, "user_id, user_pseudo_id")
        for manifest in read_manifests(settings).values()
    }


WITHOUT_ANN = {
    "2026-08-01": [("bob", "laptop"), (None, "other"), (None, None)],
    "2026-08-02": [("(not set)", "other"), ("bob", "laptop")],
    "2026-08-03": [],
    "2026-08-04": [("bob", "laptop"), ("null", "other")],
}


def test_a_person_is_all_that_is_linked_and_nobody_is_no_person(settings: Settings) -> None:
    for user in ("ann", "ann2", "phone", "tablet", " tablet "):
        person = find_person(settings, user)
        assert (person.user_ids, person.devices) == (["ann", "ann2"], ["phone", "tablet"])
        assert person.rows == {"2026-08-01": 1, "2026-08-02": 2, "2026-08-03": 2}
    assert _lake(settings)["2026-08-03"] == [("ann2", "tablet"), ("null", "tablet")]
    for user in ("", "  ", "null", "(not set)", "Undefined"):
        with pytest.raises(ForgetError, match="anybody in particular"):
            find_person(settings, user)


@pytest.mark.parametrize("edge", ["\t", "\n", "\r\n", "\u2028", "\x1f"])
def test_what_stands_at_the_edge_of_an_id_belongs_to_it(settings: Settings, source: Path, edge: str) -> None:
    events = _events("20260805", (f"eve{edge}", "e1"), (f" {edge}eve\u00a0", "e2"), ("eve", "e3"))
    write_ndjson(source / "events_20260805.json", events)
    load_changed_days(settings, progress=False)
    assert forget_person(settings, f" eve{edge}\u3000").devices == ["e1"]
    assert forget_person(settings, f"{edge}eve").devices == ["e2"]
    assert _lake(settings)["2026-08-05"] == [("eve", "e3")]


def test_a_login_that_links_everybody_is_refused(settings: Settings, source: Path) -> None:
    crowd = [("test", f"device-{number}") for number in range(MAX_LINKED_IDS)]
    write_ndjson(source / "events_20260805.json", _events("20260805", *crowd))
    load_changed_days(settings, progress=False)
    with pytest.raises(
        ForgetError, match=r"1,001 ids are linked.* 1,000 of them by the login 'test'.*placeholder_user_ids"
    ):
        forget_person(settings, "device-7")
    assert read_forgotten(settings) is None


@pytest.mark.parametrize("kind", ["login", "device"])
def test_the_id_that_links_everybody_is_named_and_can_be_left_out(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    crowd = [("Kiosk", f"c{number}") for number in range(MAX_LINKED_IDS)]
    if kind == "device":
        crowd = [(other, hub) for hub, other in crowd]
    write_ndjson(source / "events_20260805.json", _events("20260805", *crowd))
    load_changed_days(settings, progress=False)
    with pytest.raises(ForgetError, match=rf"by the {kind} 'Kiosk'.*add 'kiosk' to placeholder_user_ids"):
        forget_person(settings, "c7")
    placeholders = _placeholders(settings)
    monkeypatch.setattr("ingest.forget._placeholders", lambda _: [*placeholders, "kiosk"])
    assert forget_person(settings, "c7").rows == {"2026-08-05": 1}
    assert _lake(settings)["2026-08-05"] == [pair for pair in crowd if "c7" not in pair]
    # nor does a later load put it on the list
    write_ndjson(source / "events_20260806.json", _events("20260806", *crowd[6:9]))
    load_changed_days(settings, progress=False)
    assert _lake(settings)["2026-08-06"] == [crowd[6], crowd[8]]


def test_their_rows_go_and_touched_days_are_new_to_the_build(settings: Settings) -> None:
    before = read_manifests(settings)
    assert sum(forget_person(settings, "phone").rows.values()) == 5
    assert plan_build(settings).is_full_rebuild and (settings.home / "rebuild.requested").exists()
    assert _lake(settings) == WITHOUT_ANN
    after = read_manifests(settings)
    changed = [day.isoformat() for day in before if before[day].content_hash != after[day].content_hash]
    assert changed == ["2026-08-01", "2026-08-02", "2026-08-03"]
    assert [(m.row_count, m.forgotten_rows) for m in after.values()] == [(3, 1), (2, 2), (0, 2), (2, 0)]
    assert [file.read_bytes().count(b"tablet") for file in settings.lake_dir.rglob("*.parquet")] == [0] * 8


def test_nothing_is_loaded_again_because_somebody_was_forgotten(settings: Settings) -> None:
    forget_person(settings, "ann")
    hashes = [manifest.content_hash for manifest in read_manifests(settings).values()]
    assert {table.what for table in plan_load(settings)} == {"unchanged"}
    assert load_changed_days(settings, progress=False).days_loaded == []
    for path in Path(settings.export_uri).iterdir():
        os.utime(path, (1, 1))  # fetched again, and found to be the same
    assert load_changed_days(settings, progress=False).days_unchanged == 4
    assert [manifest.content_hash for manifest in read_manifests(settings).values()] == hashes
    assert _lake(settings) == WITHOUT_ANN


def test_they_do_not_come_back_with_late_or_rewritten_days(settings: Settings, source: Path) -> None:
    forget_person(settings, "ann")
    write_ndjson(
        source / "events_20260801.json", _events("20260801", ("bob", "laptop"), ("ann", None), (None, "phone"))
    )
    (source / "events_20260801.parquet").unlink()
    write_parquet(source / "events_20260731.parquet", _events("20260731", (None, " tablet "), ("x", "y")))
    report = load_changed_days(settings, progress=False)
    assert report.forgotten_rows == 3 and "3 rows of forgotten people left out" in report.to_text()
    lake = _lake(settings)
    assert (lake["2026-07-31"], lake["2026-08-01"]) == ([("x", "y")], [("bob", "laptop")])
    counts = {m.event_date: (m.row_count, m.forgotten_rows) for m in read_manifests(settings).values()}
    assert (counts["2026-07-31"], counts["2026-08-01"]) == ((1, 1), (1, 2))
    assert load_changed_days(settings, progress=False).days_unchanged == 5


def test_a_new_device_of_theirs_goes_with_its_past_in_any_order(settings: Settings, source: Path) -> None:
    forget_person(settings, "ann")
    write_parquet(source / "events_20260805.parquet", _events("20260805", (None, "watch"), ("bob", "laptop")))
    load_changed_days(settings, progress=False)
    assert _lake(settings)["2026-08-05"] == [(None, "watch"), ("bob", "laptop")]
    write_parquet(
        source / "events_20260806.parquet", _events("20260806", ("ann", "watch"), (None, "watch"), ("c", "d"))
    )
    write_parquet(source / "events_20260807.parquet", _events("20260807", (None, "watch"), ("cat", "watch")))
    load_changed_days(settings, progress=False)
    lake = _lake(settings)
    assert [lake[f"2026-08-0{day}"] for day in (5, 6, 7)] == [[("bob", "laptop")], [("c", "d")], []]
    # but the account that was used on it is not theirs for that
    write_parquet(source / "events_20260808.parquet", _events("20260808", ("cat", "sofa")))
    load_changed_days(settings, progress=False)
    assert _lake(settings)["2026-08-08"] == [("cat", "sofa")]
    assert load_changed_days(settings, progress=False).days_loaded == []


def test_somebody_who_is_not_there_yet_is_kept_out(settings: Settings, source: Path) -> None:
    person = forget_person(settings, "dora")
    assert (person.user_ids, person.devices, person.rows) == ([], [], {})
    assert not (settings.home / "rebuild.requested").exists()
    write_parquet(source / "events_20260805.parquet", _events("20260805", ("dora", "new"), (None, "new"), ("x", "y")))
    load_changed_days(settings, progress=False)
    assert _lake(settings)["2026-08-05"] == [("x", "y")]


def test_what_a_killed_command_has_removed_is_built_anew_whoever_is_forgotten_next(settings: Settings) -> None:
    forget_person(settings, "ann")
    path = settings.forgotten_dir / "list.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "is_purged": False}))
    (settings.home / "rebuild.requested").unlink()  # answered by a build of what was left
    forget_person(settings, "nobody")
    assert (settings.home / "rebuild.requested").exists()


def test_rows_that_came_back_with_a_backup_are_built_anew_whoever_is_forgotten_next(
    settings: Settings, tmp_path: Path
) -> None:
    shutil.copytree(settings.lake_dir, tmp_path / "backup")
    forget_person(settings, "ann")
    (settings.home / "rebuild.requested").unlink()
    shutil.rmtree(settings.lake_dir)
    shutil.copytree(tmp_path / "backup", settings.lake_dir)
    forget_person(settings, "nobody")
    assert _lake(settings) == WITHOUT_ANN
    assert (settings.home / "rebuild.requested").exists()


def _count_files_naming(settings: Settings, name: bytes) -> int:
    return sum(name in path.read_bytes() for path in settings.home.rglob("*") if path.is_file())


def test_ids_are_kept_as_keyed_hashes_that_only_the_owner_reads(settings: Settings) -> None:
    assert _count_files_naming(settings, b"tablet") > 0
    forget_person(settings, "ann")
    folder = settings.forgotten_dir
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
        "key": "0o600",
        "list.json": "0o600",
    }
    key = (folder / "key").read_text().strip()
    listed = json.loads((folder / "list.json").read_text())
    for kind, names in (("user_id_hashes", ("ann", "ann2")), ("device_hashes", ("phone", "tablet"))):
        assert set(listed[kind]) == {hashlib.sha256((key + name).encode()).hexdigest() for name in names}
    assert listed["is_purged"] is True
    assert key not in repr(read_forgotten(settings))
    assert _count_files_naming(settings, b"tablet") == 0


def test_a_login_that_reads_like_a_device_is_somebody_else(settings: Settings, source: Path) -> None:
    crossed = _events("20260805", ("B", "A"), ("C", "B"), ("A", "Z"))
    write_ndjson(source / "events_20260805.json", crossed)
    load_changed_days(settings, progress=False)
    person = forget_person(settings, "A")  # a device of one and the login of another
    assert (person.user_ids, person.devices) == (["A", "B"], ["A", "Z"])


def test_only_the_kind_of_id_that_is_linked_goes(settings: Settings, source: Path) -> None:
    write_ndjson(source / "events_20260805.json", _events("20260805", ("B", "A"), ("A", "Z")))
    load_changed_days(settings, progress=False)
    assert forget_person(settings, "B").rows == {"2026-08-05": 1}
    assert _lake(settings)["2026-08-05"] == [("A", "Z")]
    # also by a later load, in which the login is used on a further device
    write_ndjson(source / "events_20260806.json", _events("20260806", ("A", "Y"), ("x", "A"), (None, "B")))
    load_changed_days(settings, progress=False)
    assert _lake(settings)["2026-08-06"] == [("A", "Y"), (None, "B")]
    # one that the lake does not know may be either
    forget_person(settings, "new")
    write_ndjson(source / "events_20260807.json", _events("20260807", ("new", "X"), ("x", "new"), ("x", "y")))
    load_changed_days(settings, progress=False)
    assert _lake(settings)["2026-08-07"] == [("x", "y")]


def test_a_list_that_does_not_tell_logins_from_devices_counts_as_both(settings: Settings, source: Path) -> None:
    forget_person(settings, "ann")
    path = settings.forgotten_dir / "list.json"
    listed = json.loads(path.read_text())
    older = {"id_hashes": listed["user_id_hashes"] + listed["device_hashes"], "is_purged": True}
    path.write_text(json.dumps(older))
    write_ndjson(source / "events_20260805.json", _events("20260805", ("phone", "x"), (None, "ann2"), ("c", "d")))
    load_changed_days(settings, progress=False)
    assert _lake(settings)["2026-08-05"] == [("c", "d")]
    forget_person(settings, "bob")
    listed = json.loads(path.read_text())
    # with "bob" and "laptop", and "x", on which somebody logged in as "phone"
    assert [len(listed.get(name, [])) for name in ("id_hashes", "user_id_hashes", "device_hashes")] == [0, 5, 6]
    del listed["device_hashes"]
    path.write_text(json.dumps(listed))
    with pytest.raises(ForgottenListError, match="device_hashes"):
        load_changed_days(settings, progress=False)


def test_a_list_without_its_key_stops_the_load(settings: Settings) -> None:
    forget_person(settings, "ann")
    (settings.forgotten_dir / "key").unlink()
    with pytest.raises(ForgottenListError, match=r"put key and list\.json back from a backup"):
        load_changed_days(settings, progress=False)
    with pytest.raises(ForgottenListError):
        forget_person(settings, "bob")
    assert len(_lake(settings)["2026-08-04"]) == 2


def test_copies_beside_the_lake_go(settings: Settings, source: Path) -> None:
    broken = source / "events_20260809.json"
    broken.write_text(json.dumps(make_event(user_id="ann")) + "\nbroken")
    write_parquet(source / "events_intraday_20260805.parquet", _events("20260805", ("ann", "phone")))
    load_changed_days(settings, progress=False)
    # as an older version put such days aside
    retired = settings.home / "lake" / "retired"
    retired.mkdir()
    partition_dir(settings, dt.date(2026, 8, 5)).rename(retired / "events_intraday_20260805-0123456789ab")
    (source / "events_intraday_20260805.parquet").unlink()
    [entry] = settings.quarantine_dir.glob("*/*")
    assert len(list(entry.iterdir())) == 2 and len(list(retired.iterdir())) == 1
    pages = settings.docs_dir / "data_docs" / "page.html"
    pages.parent.mkdir(parents=True)
    pages.write_text("web|phone|1")
    with sqlite3.connect(settings.state_path) as state:
        state.execute("create table validation_results (suite text, success integer, observed text)")
        state.executemany(
            "insert into validation_results values (?, ?, ?)",
            [("marts", 0, "web|phone|1"), ("marts", 1, "9 checked"), ("landing", 0, "2026-08-01")],
        )
    assert list(forget_person(settings, "ann").rows) == ["2026-08-01", "2026-08-02", "2026-08-03"]
    assert [path.name for path in entry.iterdir()] == ["reason.json"]
    assert list(retired.iterdir()) == [] and not pages.exists()
    with sqlite3.connect(settings.state_path) as state:
        observed = [row[0] for row in state.execute("select observed from validation_results")]
    assert observed == ["removed: it named sessions, and a person was forgotten", "9 checked", "2026-08-01"]

    # and new broken files are no longer kept
    broken.write_text(json.dumps(make_event(user_id="ann")) + "\nbroken again")
    load_changed_days(settings, progress=False)
    assert [path.name for path in settings.quarantine_dir.glob("*/*/*")] == ["reason.json"] * 2


def test_a_kill_at_any_moment_is_finished_by_the_next_load(
    settings: Settings, source: Path, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    code = (
        "import os, sys, time\n"
        "from foundation.settings import Settings\n"
        "from ingest.forget import forget_person\n"
        "settings = Settings(source=sys.argv[1], home=sys.argv[2], property_timezone='UTC')\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        forget_person(settings, 'ann')\n"
        "        os._exit(0)\n"
        "    time.sleep(float(line))\n"
        "    os.kill(child, 9)\n"
        "    print(os.WIFSIGNALED(os.waitpid(child, 0)[1]), flush=True)\n"
    )
    base = settings.home
    command = [sys.executable, "-c", code, str(source)]
    killed = 0
    for number in range(4):
        home = tmp_path / f"home-{number}"
        subprocess.run(["cp", "-r", str(base), str(home)], check=True)
        killed_settings = make_settings(source=str(source), home=home)
        with subprocess.Popen(
            [*command, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR
        ) as process:
            assert process.stdin and process.stdout and process.stdout.readline() == "ready\n"
            process.stdin.write(f"{0.02 + 0.07 * number}\n")
            process.stdin.close()
            killed += process.stdout.read().strip() == "True"
        load_changed_days(killed_settings, progress=False)
        forgotten = read_forgotten(killed_settings)
        assert forgotten is None or forgotten.is_purged
        if forgotten is not None:
            assert _lake(killed_settings) == WITHOUT_ANN
        forget_person(killed_settings, "ann")
        assert _lake(killed_settings) == WITHOUT_ANN
        assert {m.row_count + m.forgotten_rows for m in read_manifests(killed_settings).values()} == {4, 2}
    assert killed >= 2


def test_the_command_shows_asks_and_says_what_is_left_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FUNNELHOUSE_HOME", str(settings.home))
    assert main(["forget", "ann"]) == 1  # nobody to ask
    shown = capsys.readouterr()
    assert "login ids (user_id): ann, ann2" in shown.out and "devices (user_pseudo_id): phone, tablet" in shown.out
    assert "5 rows on 3 days (2026-08-01 to 2026-08-03)" in shown.out and "--yes" in shown.err
    assert len(_lake(settings)["2026-08-03"]) == 2
    assert main(["forget", "--yes", "ann"]) == 0
    assert "5 rows removed from the lake" in (out := capsys.readouterr().out) and "make run" in out
    assert _lake(settings) == WITHOUT_ANN
    (settings.home / "rebuild.requested").unlink()
    assert main(["forget", "--yes", "anm"]) == 0
    assert "no row in the lake carries 'anm'" in (out := capsys.readouterr().out) and "rows removed" not in out
    assert not (settings.home / "rebuild.requested").exists()
    assert main(["forget", "--yes", "null"]) == 1
    assert "anybody in particular" in capsys.readouterr().err


def test_make_forget_does_not_take_the_shells_user(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "-n", "forget"],
        cwd=PROJECT_DIR,
        env={**os.environ, "USER": "root"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "say who" in done.stdout and "-m ingest" not in done.stdout
    done = subprocess.run(
        ["make", "-n", "forget", "USER=ann"], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert 'ingest forget -- "$FORGET_USER"' in done.stdout and "runner run" in done.stdout


@pytest.mark.parametrize(
    "typed", ["a$b", "ab$(c)d$$e", "a$(", "o'br\"ien x  y ", "-dash", "a#b\\c", "`id`", "$(shell id)", "line\nend\t"]
)
def test_make_passes_on_what_was_typed(tmp_path: Path, typed: str) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv[1:], 'USER' in os.environ]))\n"
    )
    python.chmod(0o755)
    (tmp_path / ".installed").touch()

    def make(*arguments: str) -> list[Any]:
        command = ["make", "--no-print-directory", f"VENV={tmp_path}", *arguments]
        done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert make("forget", f"USER={typed}") == [
        [["-m", "ingest", "forget", "--", typed], False],
        [["-m", "runner", "run"], False],
    ]
    [[arguments, _]] = make("sql", f"Q={typed}")
    assert arguments == ["-m", "runner", "sql", "--", typed]
