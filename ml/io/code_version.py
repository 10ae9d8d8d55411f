"""Which code and which libraries made a model."""

from __future__ import annotations

import platform
import subprocess
import tomllib
from importlib.metadata import version

from foundation.settings import PROJECT_DIR

LIBRARIES = ("scikit-learn", "skops", "numpy", "pandas", "duckdb")


def read_code_version() -> str:
    """The git commit (marked `+changes` with uncommitted ones), else the version in pyproject.toml."""
    try:
        commit = _run_git("rev-parse", "HEAD")
        return f"{commit}+changes" if _run_git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        project = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))
        return str(project["project"]["version"])


def read_library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that a model depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _run_git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(PROJECT_DIR), *arguments], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()
