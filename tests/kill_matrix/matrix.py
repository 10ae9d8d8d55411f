"""Kills tasks of the pipeline, lets the next run begin, and compares what it leaves with runs that nobody killed."""

from __future__ import annotations

import filecmp
import random
import shutil
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ml.jobs.report import MODEL_NAMES
from tests.kill_matrix.compare import compare_published, is_sound, read_lake, read_state
from tests.kill_matrix.home import Home, deliver_last_days, promote_all, write_first_days
from tests.kill_matrix.points import COUNTS, RETRY_COUNTS, Point, choose_points
from tests.main_job import TASKS

Way = Literal["new run", "retry"]
# A retry of these begins where the killed one was; that of an earlier one would be a whole run.
RETRIED = ("score_sessions", "build_scores", "validate_scores", "publish", "check_alerts")


@dataclass(frozen=True)
class Kill:
    """One kill, and how what the next run left differs from what runs that nobody killed leave."""

    point: Point
    way: Way
    differences: list[str]
    seconds: float


@dataclass
class Reference:
    """What runs leave that nobody has killed."""

    published: Path
    lake: dict[str, Any]
    state: dict[str, Any]
    messages: Counter[str]
    traces: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    clean: Path | None = None  # a full rebuild from the same lake, with the same champions
    trained: Path | None = None


def prepare(home: Home, *, sessions: int) -> Reference:
    """Publish the shop with scores, let the export change, and run each task once without a kill.

    The state before each task is kept under its name.
    """
    write_first_days(home, sessions)
    _succeed(home, "all", run_id="first", modules=str(home.folder / "modules.json"))
    home.keep("train_models")
    _succeed(home, "train_models", run_id="training", models=list(MODEL_NAMES))
    promote_all(home.settings)
    _succeed(home, "all", run_id="scored")
    deliver_last_days(home)
    reference = run_for_reference(home)
    _build_clean(home, reference)
    return reference


def prepare_briefly(home: Home, *, sessions: int, skipping: Collection[str]) -> Reference:
    """The same without models, without a full rebuild to compare with, and without some of the tasks."""
    write_first_days(home, sessions)
    order = {"skipping": list(skipping), "modules": str(home.folder / "modules.json")}
    _succeed(home, "all", run_id="first", **order)
    deliver_last_days(home)
    return run_for_reference(home, skipping=skipping)


def run_for_reference(home: Home, *, skipping: Collection[str] = ()) -> Reference:
    """Run each task once without a kill; the state before each is kept under its name."""
    traces = {}
    for task in [task for task in TASKS if task not in skipping]:
        home.keep(task)
        traces[task] = home.trace(task, "second")
    published = shutil.copy(home.settings.published_path, home.folder / "reference.duckdb")
    return Reference(
        published=Path(published),
        lake=read_lake(home.settings),
        state=read_state(home.settings),
        messages=home.count_messages(),
        traces=traces,
    )


def prepare_training(home: Home, reference: Reference) -> None:
    """Train the segments once without a kill, and publish their scores."""
    home.restore("train_models")
    reference.traces["train_models"] = home.trace("train_models", "training")
    _succeed(home, "all", run_id="scored")
    reference.trained = home.folder / "trained.duckdb"
    shutil.copy(home.settings.published_path, reference.trained)


def list_points(reference: Reference, *, seed: int) -> list[tuple[Point, Way]]:
    """The kills of the long form: every task at every phase, then once more where the task itself is retried."""
    draw = random.Random(seed)
    kills: list[tuple[Point, Way]] = []
    for task, events in reference.traces.items():
        kills += [(point, "new run") for point in choose_points(task, events, draw, COUNTS[task])]
        if task in RETRIED:
            kills += [(point, "retry") for point in choose_points(task, events, draw, RETRY_COUNTS)]
    return kills


def kill_and_compare(home: Home, reference: Reference, point: Point, way: Way) -> Kill:
    """Kill one task at one point, let it be made good, and compare."""
    started = time.monotonic()
    home.restore(point.task)
    code = home.run(point.task, run_id="second", kill=point.to_order())
    differences = [] if code == -9 else [f"the process was not killed: it ended with {code}"]
    if point.task not in ("publish", "check_alerts"):
        kept = home.folder / point.task / "warehouse.duckdb"
        if not filecmp.cmp(home.settings.published_path, kept, shallow=False):
            differences.append("the published file was touched")
    if point.task == "train_models":
        differences += _train_again(home, reference)
    else:
        names = list(TASKS)
        again = ["all"] if way == "new run" else names[names.index(point.task) :]
        code = home.run(*again, run_id="third" if way == "new run" else "second")
        differences += [] if code == 0 else [f"the next run ended with {code}"]
        differences += compare_all(home, reference)
    return Kill(point, way, differences, time.monotonic() - started)


def compare_all(home: Home, reference: Reference) -> list[str]:
    """How what is there differs from what the runs left that nobody killed."""
    published = home.settings.published_path
    differences = compare_published(published, reference.published)
    if reference.clean is not None:
        rebuilt = compare_published(published, reference.clean, without_build=True)
        differences += [f"full rebuild: {text}" for text in rebuilt]
    if (lake := read_lake(home.settings)) != reference.lake:
        differences.append(f"the lake: {_differing(lake, reference.lake)}")
    if (state := read_state(home.settings)) != reference.state:
        differences.append(f"the state file: {_differing(state, reference.state)}")
    if not is_sound(home.settings):
        differences.append("the state file is damaged")
    if (messages := home.count_messages()) != reference.messages:
        missing, doubled = reference.messages - messages, messages - reference.messages
        differences.append(f"messages missing: {dict(missing)}, sent twice or not expected: {dict(doubled)}")
    return differences


def _train_again(home: Home, reference: Reference) -> list[str]:
    assert reference.trained is not None
    differences = []
    for task, run_id in (("train_models", "training"), ("all", "scored")):
        code = home.run(task, run_id=run_id)
        differences += [] if code == 0 else [f"{task} ended with {code}"]
    leftovers = [path.name for path in home.settings.models_dir.glob("*/.writing-*")]
    differences += [f"left in the models' folder: {name}" for name in leftovers]
    return differences + compare_published(home.settings.published_path, reference.trained, versions_differ=True)


def _build_clean(home: Home, reference: Reference) -> None:
    """Build everything from the lake in a home that knows nothing but the export and the models."""
    home.restore("load_changed_days")
    for path in home.settings.home.iterdir():
        if path.name != "models":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _succeed(home, "all", run_id="clean")
    reference.clean = home.folder / "clean.duckdb"
    shutil.copy(home.settings.published_path, reference.clean)
    differences = compare_published(reference.published, reference.clean, without_build=True)
    assert not differences, "without any kill:\n" + "\n".join(differences)


def _succeed(home: Home, *tasks: str, run_id: str, **order: Any) -> None:
    code = home.run(*tasks, run_id=run_id, **order)
    assert code == 0, f"{tasks} ended with {code}: see {home.folder / 'tasks.log'}"


def _differing(left: dict[str, Any], right: dict[str, Any]) -> str:
    names = [name for name in sorted(left.keys() | right.keys()) if left.get(name) != right.get(name)]
    shown = names[0]
    one, other = left.get(shown), right.get(shown)
    if isinstance(one, list) and isinstance(other, list):
        one, other = [row for row in one if row not in other], [row for row in other if row not in one]
    return f"{', '.join(names)}; in {shown}: {one} instead of {other}"[:600]
