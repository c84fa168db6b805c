"""What a run was made with: versions, platform, git state. Read from metadata, so nothing heavy is imported."""

import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import instructloop

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "scipy")
_LONGEST_DIFF_CHARS = 1_000_000


def environment() -> dict[str, Any]:
    """Python, platform, package versions, threads and the git state of the package, ready for ``environment.json``."""
    sha, dirty = git_state()
    return {
        "schema_version": 1,
        "instructloop": instructloop.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "packages": {name: package_version(name) for name in PACKAGES},
        "git_sha": sha,
        "git_dirty": dirty,
    }


def package_version(name: str) -> str | None:
    """The installed version of a distribution, or None; the package itself is not imported."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def command_line() -> str:
    """How this process was started: program name (without its folder) and arguments."""
    return " ".join([Path(sys.argv[0]).name if sys.argv else "", *sys.argv[1:]]).strip()


@lru_cache(maxsize=1)
def git_state() -> tuple[str | None, bool | None]:
    """Commit and whether tracked files differ from it; (None, None) for an installed package outside a checkout."""
    sha = _git("rev-parse", "HEAD")
    if sha is None:
        return None, None
    return sha.strip(), bool((_git("status", "--porcelain", "--untracked-files=no") or "").strip())


def code_diff() -> str:
    """The uncommitted change of the checkout the package runs from; empty when clean, absent or unreasonably long."""
    _, dirty = git_state()
    text = (_git("diff", "HEAD") or "") if dirty else ""
    return text if len(text) <= _LONGEST_DIFF_CHARS else ""


def _git(*arguments: str) -> str | None:
    package = Path(instructloop.__file__).resolve().parent
    if not (package.parents[1] / ".git").exists():  # src layout: a wheel in some other repository's venv is not that repository
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(package), *arguments],  # noqa: S607 - git from the user's PATH
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
