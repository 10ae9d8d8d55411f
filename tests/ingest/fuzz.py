"""A fuzz of the loader: thousands of odd day files, and what must hold whatever they hold.

    python -m tests.ingest.fuzz [--files 5000] [--seed 1] [--first 0] [--keep FOLDER]

Each file is a valid day with a few mutations, and depends on the seed and its number alone: `--first 17 --files 1`
makes file 17 again, and `--keep` leaves it in a folder. Files are loaded 40 at a time between two good days, twice,
by a process of their own. A batch that breaks a promise is halved until the files are known that do.
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import functools
import gzip
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import duckdb

os.environ.setdefault("FUNNELHOUSE_ENV_FILE", os.devnull)

from tests.ingest import fuzz_json, fuzz_parquet
from tests.ingest.fuzz_checks import Outcome, check_batch
from tests.ingest.fuzz_days import make_day, write_base

BATCH = 40
SECONDS_A_LOAD = 60
_FIRST_DATE = dt.date(2011, 1, 1)
_DATES = 5_400  # up to 2025


@dataclass(frozen=True)
class Mutant:
    """One odd file: its name in the export, its content, and what was done to it."""

    number: int
    date: dt.date
    name: str
    content: bytes
    description: str


@dataclass
class Summary:
    """What became of all files."""

    files: int = 0
    builds: int = 0
    seconds: float = 0.0
    outcomes: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)  # form, outcome
    violations: list[str] = field(default_factory=list)

    def to_text(self) -> str:
        """A line per form, and one per broken promise."""
        forms = sorted({form for form, _ in self.outcomes})
        names = sorted({outcome for _, outcome in self.outcomes})
        lines = [f"{self.files:,} files in {self.seconds:.0f} s, {self.builds} builds"]
        for form in forms:
            counts = ", ".join(f"{self.outcomes[form, name]:,} {name}" for name in names if self.outcomes[form, name])
            lines.append(f"  {form}: {counts}")
        lines.append(f"{len(self.violations)} promises broken")
        return "\n".join([*lines, *(f"  {violation}" for violation in self.violations)])


def make_mutant(seed: int, number: int, folder: Path) -> Mutant:
    """The file of this number; `folder` is for what has to lie on disk meanwhile."""
    random_ = random.Random(f"{seed}/{number}")
    date = _FIRST_DATE + dt.timedelta(days=number % _DATES)
    make = random_.choices([_make_ndjson, _make_parquet], [1, 1])[0]
    form, description, content = make(random_, date, folder)
    suffix = f".{form}"
    if random_.random() < 0.25:
        suffix += ".gz"
        packing, content = _pack(random_, content)
        description += f"; {packing}"
    return Mutant(number, date, f"events_{date:%Y%m%d}{suffix}", content, description)


def _make_ndjson(random_: random.Random, date: dt.date, folder: Path) -> tuple[str, str, bytes]:
    mutate = random_.choices([fuzz_json.mutate_events, fuzz_json.mutate_text], [3, 1])[0]
    return random_.choice(["json", "ndjson", "jsonl"]), *mutate(random_, make_day(date))


def _make_parquet(random_: random.Random, date: dt.date, folder: Path) -> tuple[str, str, bytes]:
    path = folder / "mutant.parquet"
    connection = _connect()
    write_base(connection, date, folder)
    connection.execute(f"select setseed({random_.random()})").fetchall()
    if random_.random() < 0.6:
        description = fuzz_parquet.mutate_columns(random_, connection, path)
        return "parquet", description, path.read_bytes()
    content = fuzz_parquet.write_sound_file(random_, connection, path)
    return "parquet", *fuzz_parquet.mutate_bytes(
        random_, content, lambda: fuzz_parquet.write_sound_file(random_, connection, path)
    )


@functools.cache
def _connect() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": 1, "memory_limit": "1GB"})


def _pack(random_: random.Random, content: bytes) -> tuple[str, bytes]:
    packed = gzip.compress(content, compresslevel=1, mtime=0)
    half = len(content) // 2
    damaged = bytearray(packed)
    for _ in range(random_.choice([1, 3, 20])):
        damaged[random_.randrange(len(damaged))] ^= 1 << random_.randrange(8)
    return random_.choice(
        [("gzipped", packed)] * 3
        + [("gzip with flips", bytes(damaged)), ("gzip cut", packed[: random_.randrange(len(packed))])]
        + [("two members", gzip.compress(content[:half], mtime=0) + gzip.compress(content[half:], mtime=0))]
        + [("gzip with something behind it", packed + random_.choice([b"\x00" * 9, b"x", packed[:20]]))]
        + [
            ("not gzipped", content),
            ("gzipped twice", gzip.compress(packed, mtime=0)),
            ("gzip of nothing", gzip.compress(b"")),
        ]
    )


class Fuzz:
    """Loads mutants batch by batch in a process of its own, which a crash or a hang ends."""

    def __init__(self, seed: int, home: Path, *, build_every: int) -> None:
        """One batch in `build_every` is built too."""
        self._seed, self._home, self._build_every = seed, home, build_every
        self.summary = Summary()
        self._pool: ProcessPoolExecutor | None = None

    def run(self, numbers: Sequence[int], *, progress: bool = False) -> Summary:
        """Load these files and check every promise; `progress` prints the summary so far after each batch."""
        started = time.monotonic()
        for batch, start in enumerate(range(0, len(numbers), BATCH)):
            is_built = batch % self._build_every == 0
            self._check(list(numbers[start : start + BATCH]), is_built=is_built)
            self.summary.builds += is_built
            self.summary.files = min(start + BATCH, len(numbers))
            self.summary.seconds = time.monotonic() - started
            if progress:
                print(self.summary.to_text(), flush=True)
        self.close()
        return self.summary

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _check(self, numbers: list[int], *, is_built: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            mutants = [make_mutant(self._seed, number, Path(folder)) for number in numbers]
        outcome = self._load(mutants, is_built=is_built)
        if outcome.violations and len(numbers) > 1:
            half = len(numbers) // 2
            before = len(self.summary.violations)
            for part in (numbers[:half], numbers[half:]):
                self._check(part, is_built=is_built)
            if len(self.summary.violations) == before:
                self.summary.violations.append(f"files {numbers} only together: {'; '.join(outcome.violations)}")
            return
        for mutant in mutants:
            form = mutant.name.partition(".")[2].replace("ndjson", "json").replace("jsonl", "json")
            self.summary.outcomes[form, outcome.states.get(mutant.name, "unknown")] += 1
            for violation in outcome.violations:
                self.summary.violations.append(f"file {mutant.number} ({mutant.description}): {violation}")
                print(self.summary.violations[-1], flush=True)

    def _load(self, mutants: list[Mutant], *, is_built: bool) -> Outcome:
        started = time.monotonic()
        if self._pool is None:
            self._pool = ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"))
        files = {mutant.name: mutant.content for mutant in mutants}
        dates = [mutant.date for mutant in mutants]
        try:
            return self._pool.submit(_check_in_child, self._home, files, dates, is_built).result()
        except BrokenProcessPool:
            self.close()
            seconds = time.monotonic() - started
            is_late = seconds >= SECONDS_A_LOAD
            what = f"did not end within {SECONDS_A_LOAD} s" if is_late else f"killed the process after {seconds:.1f} s"
            return Outcome(violations=[what])


def _check_in_child(home: Path, files: dict[str, bytes], dates: list[dt.date], is_built: bool) -> Outcome:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, wherever it is
    return check_batch(home, files, dates, is_built=is_built, before_load=lambda: signal.alarm(SECONDS_A_LOAD))


def main() -> int:
    """Fuzz, and print what became of the files; the exit code is 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--build-every", type=int, default=5, help="build one batch in so many")
    parser.add_argument("--keep", type=Path, help="only write the files, into this folder")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.files)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            mutant = make_mutant(options.seed, number, options.keep)
            (options.keep / mutant.name).write_bytes(mutant.content)
            print(f"{mutant.name}: {mutant.description}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        summary = Fuzz(options.seed, Path(folder) / "home", build_every=options.build_every).run(numbers, progress=True)
    print(summary.to_text())
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
