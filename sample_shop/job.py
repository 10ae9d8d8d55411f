"""Write the sample shop: simulate in chunks, write day by day, put it in place by renames."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from foundation.errors import FunnelhouseError, UsageError
from foundation.settings import Settings
from sample_shop.days import list_chunks, load_day, simulate_task, workers, write_table
from sample_shop.options import GENERATOR_VERSION, Calendar, SampleOptions
from sample_shop.quirks import spoil_day
from sample_shop.simulate import TRUTH_SCHEMA

RECORD_NAME = "_sample.json"
LIVE_NAME = "_live.json"  # of a shop that lives (sample_shop.live)
TRUTH_NAME = "session_truth.parquet"
_PARALLEL_FROM = 100_000  # sessions; below, starting processes costs more than it saves
_UNFINISHED = ".writing-"
_INTRADAY_PART = 0.7  # of the last day that its streaming table still holds


class SampleBusyError(FunnelhouseError):
    """Another process is writing to the same folder."""


class LiveShopError(FunnelhouseError):
    """The folder holds a shop that lives, which would be replaced."""


class ForeignFolderError(FunnelhouseError):
    """The export's folder holds files that no sample shop wrote."""


@dataclass(frozen=True)
class SampleReport:
    """What was written, or found."""

    is_skipped: bool
    export_dir: str
    truth_path: str
    later_dir: str
    sessions: int  # with a truth
    events: int  # rows of the export
    files: int
    purchased_sessions: int
    planted: dict[str, list[str]]  # dates of the incidents and of the rewritten day
    seconds: float
    events_per_second: float
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def write_sample_shop(
    settings: Settings,
    options: SampleOptions | None = None,
    *,
    out: Path | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> SampleReport:
    """Write the export, the truth and the later version of the rewritten day; do nothing if they are there already.

    `out` is the folder that gets `export/`, `truth/`, `later/` and `_sample.json` (default: `sample_shop/` in the home
    folder); `processes` defaults to all cores for large samples, and does not change the result. Without an `end_date`
    a new shop ends yesterday, and one that is there is kept: written anew, all its days would have changed. All is
    written to a temporary folder and renamed; `_sample.json` comes last. `progress` shows a bar on a terminal.
    Raises ForeignFolderError rather than replace other files, and SampleBusyError while another process writes there.
    """
    options = options or SampleOptions()
    root = out.expanduser().resolve() if out else settings.sample_export_dir.parent
    if (root / LIVE_NAME).exists():
        raise LiveShopError(
            f"a shop lives in {root}: go on with `python -m sample_shop live`, or choose another folder with --out"
        )
    found = _read_record(root)
    calendar = Calendar(options, settings.zone, options.end_date or _choose_end(settings, options, found))
    if found is not None and found["made_with"] == _describe(calendar) and _has_all_files(root, found):
        return _report_kept(root, found)
    refuse_foreign_files(root)
    if processes is None:
        processes = (os.cpu_count() or 1) if options.sessions >= _PARALLEL_FROM else 1
    if processes < 1:
        raise UsageError(f"processes is {processes}: give at least 1")
    return _write(calendar, root, processes, progress)


def _choose_end(settings: Settings, options: SampleOptions, found: dict[str, Any] | None) -> dt.date:
    """Yesterday, or the end of the shop that is there if it was made with the same options."""
    if found is not None:
        end_date = dt.date.fromisoformat(found["made_with"]["end_date"])
        if found["made_with"] == _describe(Calendar(options, settings.zone, end_date)):
            return end_date
    return dt.datetime.now(settings.zone).date() - dt.timedelta(days=1)


def _report_kept(root: Path, found: dict[str, Any]) -> SampleReport:
    message = (
        f"the sample shop is already in {root / 'export'}, made with the same options: nothing to do (delete "
        f"{RECORD_NAME} beside it to have it written again)"
    )
    return SampleReport(
        **{**found["report"], **_paths_of(root), "is_skipped": True, "seconds": 0.0, "message": message}
    )


def _write(calendar: Calendar, root: Path, processes: int, progress: bool) -> SampleReport:
    began = time.perf_counter()
    root.mkdir(parents=True, exist_ok=True)
    with lock_folder(root), tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=root) as name:
        folder = Path(name)
        for leftover in root.glob(f"{_UNFINISHED}*"):  # of a run that was killed
            if leftover != folder:
                shutil.rmtree(leftover)
        events = _write_everything(calendar, folder, processes, progress)
        sessions, purchased = _count_truth(folder / "truth" / TRUTH_NAME)
        seconds = time.perf_counter() - began
        files = len(list((folder / "export").iterdir()))
        report = SampleReport(
            is_skipped=False,
            **_paths_of(root),
            sessions=sessions,
            events=events,
            files=files,
            purchased_sessions=purchased,
            planted={name: [date.isoformat() for date in dates] for name, dates in calendar.planted.items()},
            seconds=round(seconds, 2),
            events_per_second=round(events / seconds),
            message=(
                f"{sessions:,} sessions, {events:,} events in {files} day files, {purchased / sessions:.2%} of the "
                f"sessions with a purchase; {seconds:.1f} s, {events / seconds:,.0f} events/s; in {root / 'export'}"
            ),
        )
        _put_in_place(root, folder, {"made_with": _describe(calendar), "report": report.to_dict()})
    return report


def deliver_rewritten_day(settings: Settings, *, out: Path | None = None) -> list[Path]:
    """Copy the later version of the rewritten day over the first one; the files replaced. Harmless when repeated.

    Raises `UsageError` where there is no later version.
    """
    root = out.expanduser().resolve() if out else settings.sample_truth_dir.parent
    later = sorted((root / "later").glob("events_*.parquet"))
    if not later:
        raise UsageError(
            f"{root / 'later'} contains no later version of a day: write the sample shop first, with the quirk "
            "rewritten_day and at least three days"
        )
    delivered = []
    for path in later:
        target = root / "export" / path.name
        arriving = root / f".{path.name}"
        shutil.copyfile(path, arriving)
        arriving.replace(target)
        delivered.append(target)
    return delivered


@contextmanager
def lock_folder(root: Path) -> Iterator[None]:
    """Hold the folder for one writer; the system lets go of it when the process ends, however it ends."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SampleBusyError(f"another process is writing a sample shop in {root}: wait for it to end") from error
        yield
    finally:
        os.close(descriptor)


def _describe(calendar: Calendar) -> dict[str, Any]:
    """All that decides what is in the files, as `_sample.json` records it."""
    return {
        "generator_version": GENERATOR_VERSION,
        "property_timezone": calendar.zone.key,
        **asdict(calendar.options),
        "end_date": calendar.end_date.isoformat(),
    }


def _paths_of(root: Path) -> dict[str, str]:
    return {
        "export_dir": str(root / "export"),
        "truth_path": str(root / "truth" / TRUTH_NAME),
        "later_dir": str(root / "later"),
    }


def _read_record(root: Path) -> dict[str, Any] | None:
    """What `_sample.json` says, if it can be read."""
    try:
        record: dict[str, Any] = json.loads((root / RECORD_NAME).read_text(encoding="utf-8"))
        dt.date.fromisoformat(record["made_with"]["end_date"])
        SampleReport(**record["report"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return record


def _has_all_files(root: Path, record: dict[str, Any]) -> bool:
    files = len(list((root / "export").glob("events_*.parquet")))
    return bool(files == record["report"]["files"]) and (root / "truth" / TRUTH_NAME).exists()


def refuse_foreign_files(root: Path) -> None:
    """Raise ForeignFolderError where the shop's folders hold what no sample shop wrote."""
    for name, pattern in (("export", "events_*.parquet"), ("truth", TRUTH_NAME), ("later", "events_*.parquet")):
        folder = root / name
        strangers = [path for path in folder.iterdir() if not path.match(pattern)] if folder.is_dir() else []
        if strangers:
            raise ForeignFolderError(
                f"{strangers[0]} was not written by the sample shop, which would replace its folder: "
                "move it away, or choose another folder with --out"
            )


def _put_in_place(root: Path, folder: Path, record: dict[str, Any]) -> None:
    """Rename the finished folders into `root`. Without `_sample.json`, written last, the sample does not count."""
    (root / RECORD_NAME).unlink(missing_ok=True)
    for name in ("truth", "later", "export"):
        if (root / name).exists():
            (root / name).rename(folder / f"old_{name}")
        (folder / name).rename(root / name)
    arriving = folder / RECORD_NAME
    arriving.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    arriving.replace(root / RECORD_NAME)


def _count_truth(path: Path) -> tuple[int, int]:
    table = pq.read_table(path, columns=["purchased"], filters=[("decision_point", "==", "full")])
    return table.num_rows, int(np.count_nonzero(table["purchased"].to_numpy()))


# ------------------------------------------------------------------------------------------------------- writing


def _write_everything(calendar: Calendar, folder: Path, processes: int, progress: bool) -> int:
    """Fill `folder` with export/, truth/ and later/; the number of rows exported."""
    for name in ("export", "truth", "later", "chunks"):
        (folder / name).mkdir()
    chunks = list_chunks(calendar)
    days = calendar.days + (1 if calendar.options.quirks.intraday_only_day else 0)
    simulations = [(calendar, number, size, folder / "chunks") for number, size in enumerate(chunks)]
    writings = [(calendar, day, len(chunks), folder) for day in range(days)]
    events = 0
    steps = len(simulations) + len(writings)
    show_bar = progress and sys.stderr.isatty()
    with (
        workers(processes) as run,
        tqdm(total=steps, desc="sample shop", unit="step", mininterval=0.5, disable=not show_bar) as bar,
    ):
        for _ in run(simulate_task, simulations):
            bar.update()
        for rows in run(_write_day_task, writings):
            events += rows
            bar.update()
            bar.set_postfix_str(f"{events:,} events")
    _join_truth(folder, len(chunks))
    shutil.rmtree(folder / "chunks")
    return events


def _write_day_task(argument: tuple[Calendar, int, int, Path]) -> int:
    """Write every table of one day; the number of rows exported."""
    calendar, day, chunks, folder = argument
    quirks = calendar.options.quirks
    events, sessions = load_day(folder / "chunks", chunks, day)
    date = f"{calendar.date(day):%Y%m%d}"
    if day == calendar.days:
        rows = spoil_day(calendar, day, events, table=1)
        return write_table(calendar, folder / "export" / f"events_intraday_{date}.parquet", rows, sessions, True)
    rows = spoil_day(calendar, day, events)
    name = f"events_{date}.parquet"
    if day == calendar.rewritten_day:
        write_table(calendar, folder / "later" / name, rows, sessions, False)
        rows = rows[~sessions["arrives_late"][rows["session"]]]
    written = write_table(calendar, folder / "export" / name, rows, sessions, False)
    if quirks.intraday_beside_daily and day == calendar.days - 1:
        until = np.quantile(events["timestamp"], _INTRADAY_PART) if len(events) else 0
        rows = spoil_day(calendar, day, events[events["timestamp"] < until], table=1)
        path = folder / "export" / f"events_intraday_{date}.parquet"
        written += write_table(calendar, path, rows, sessions, True)
    return written


def _join_truth(folder: Path, chunks: int) -> None:
    with pq.ParquetWriter(folder / "truth" / TRUTH_NAME, TRUTH_SCHEMA, compression="zstd") as writer:
        for chunk in range(chunks):
            writer.write_table(pq.read_table(folder / "chunks" / f"truth_{chunk}.parquet"))
