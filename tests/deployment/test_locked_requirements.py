"""What is installed is what was locked: every requirement has its hashes, and every installation asks for them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from foundation.settings import PROJECT_DIR

LOCKS = sorted(PROJECT_DIR.glob("requirements*.txt"))
_INSTALLS = re.compile(r"\bpip install\b")


def read_requirements(lock: Path) -> list[str]:
    """The requirements of a lock file, each with the lines that it continues on."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def find_installs(text: str) -> list[str]:
    """The commands of a Makefile or Dockerfile that install packages, with the lines that they continue on."""
    lines = text.replace("\\\n", " ").splitlines()
    commands = [command for line in lines if not line.startswith("#") for command in line.split("&&")]
    return [command for command in commands if _INSTALLS.search(command)]


def test_every_requirements_in_is_locked() -> None:
    wanted = {path.stem for path in PROJECT_DIR.glob("requirements*.in")}
    assert {path.stem for path in LOCKS} == wanted == {f"requirements{part}" for part in ("", "-dev", "-server", "-uv")}
    # within `make test`, make would also say where it is
    command = ["make", "--no-print-directory", "-n", "lock"]
    recipe = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=True).stdout
    commands = recipe.splitlines()
    assert {match[1] for match in re.finditer(r"-o (\S+)\.txt \1\.in", recipe)} == wanted
    assert len(commands) == len(wanted) and all("--generate-hashes" in command for command in commands)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_has_a_hash(lock: Path) -> None:
    requirements = read_requirements(lock)
    assert requirements
    for requirement in requirements:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ ", requirement), requirement
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", requirement), requirement


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_index(lock: Path) -> None:
    # where packages come from is for each machine to say; the hashes hold wherever that is
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b", text, flags=re.MULTILINE)


def test_a_package_has_the_same_hashes_in_every_lock() -> None:
    seen: dict[str, str] = {}
    for lock in LOCKS:
        for requirement in read_requirements(lock):
            name = requirement.split(" ;")[0].split()[0]
            hashes = " ".join(sorted(re.findall(r"sha256:\w+", requirement)))
            assert seen.setdefault(name, hashes) == hashes, f"{name} in {lock.name}"


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_every_installation_requires_hashes(name: str) -> None:
    installs = find_installs((PROJECT_DIR / name).read_text(encoding="utf-8"))
    assert len(installs) == 2
    for install in installs:
        assert "--require-hashes" in install, install


def test_the_makefile_installs_in_no_other_way() -> None:
    targets = [".venv/.installed", ".venv/.installed-dev"]
    recipe = subprocess.run(
        ["make", "--dry-run", "--always-make", *targets], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    ).stdout
    installs = [line for line in recipe.splitlines() if _INSTALLS.search(line)]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install and re.search(r" -r requirements\S*\.txt", install), install
