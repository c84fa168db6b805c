"""A project folder: where one group of people's feedback lives.

::

    my-project/
      project.toml        name, database URL, created
      feedback.sqlite3    the store (unless a URL names PostgreSQL)
      secret.key          256 bits, mode 0600: pseudonyms, owner hashes, logins derive from it
      snapshots/          what leaves for training
"""

import hashlib
import hmac
import os
import re
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path

from instructloop.core.errors import ConfigError
from instructloop.core.files import write_atomic
from instructloop.feedback.database import Database

PROJECT_FILE = "project.toml"
KEY_FILE = "secret.key"
DATABASE_FILE = "feedback.sqlite3"
DATABASE_VARIABLE = "INSTRUCTLOOP_DATABASE"
KEY_VARIABLE = "INSTRUCTLOOP_SECRET"


@dataclass(frozen=True, slots=True)
class Project:
    """An opened project folder; :meth:`database` opens its store."""

    path: Path
    name: str
    url: str
    key: bytes

    @property
    def snapshots(self) -> Path:
        """Folder of the snapshots, one directory each, named by content."""
        return self.path / "snapshots"

    def database(self) -> Database:
        """A fresh handle on the store; close it when done."""
        return Database(self.url)

    def pseudonym(self, purpose: str, value: str) -> str:
        """``sha256:<hex>`` HMAC of a value under the project key: the same everywhere in this project, nowhere else."""
        return "sha256:" + hmac.new(self.key, f"{purpose}\0{value}".encode(), hashlib.sha256).hexdigest()

    @classmethod
    def create(cls, path: Path, *, name: str = "", url: str = "") -> "Project":
        """Make a project folder (``instructloop init``), without touching the database; migrations do that.

        Args:
            path: a new or empty folder.
            name: shown to labelers; the folder's name by default.
            url: of a PostgreSQL database; empty keeps a SQLite file in the folder.

        Raises:
            ConfigError: there is a project already.
        """
        if (path / PROJECT_FILE).exists():
            raise ConfigError(f"{path} already holds a project", hint=f"instructloop label {path} opens it")
        (path / "snapshots").mkdir(parents=True, exist_ok=True)
        key_file = path / KEY_FILE
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        shown = re.sub(r'["\\\n]', " ", name or path.resolve().name)
        write_atomic(path / PROJECT_FILE, f'name = "{shown}"\n# empty: the file {DATABASE_FILE} beside this one\ndatabase = "{url}"\n')
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path) -> "Project":
        """Open a project folder; the environment variables INSTRUCTLOOP_DATABASE and INSTRUCTLOOP_SECRET go before its files.

        Raises:
            ConfigError: no project there, or a broken one.
        """
        path = Path(path)
        file = path / PROJECT_FILE
        if not file.is_file():
            raise ConfigError(f"{path} is no project folder: {PROJECT_FILE} is missing", hint=f"instructloop init {path} makes one")
        try:
            settings = tomllib.loads(file.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file}: {error}", hint='it needs the lines name = "..." and database = ""') from error
        url = os.environ.get(DATABASE_VARIABLE) or str(settings.get("database", "")) or f"sqlite:///{(path / DATABASE_FILE).resolve()}"
        return cls(path, str(settings.get("name", path.name)), url, _key(path))


def is_project(path: str | Path) -> bool:
    """Whether a path is a project folder (and not a run directory or a data file)."""
    return (Path(path) / PROJECT_FILE).is_file()


def _key(path: Path) -> bytes:
    text = os.environ.get(KEY_VARIABLE)
    source = KEY_VARIABLE
    if text is None:
        file = path / KEY_FILE
        source = str(file)
        if not file.is_file():
            raise ConfigError(
                f"{file} is missing", hint=f"restore it from a backup, or set {KEY_VARIABLE}; without it logins and pseudonyms change"
            )
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise ConfigError(f"{file} can be read by others", hint=f"chmod 600 {file}")
        text = file.read_text(encoding="utf-8")
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) < 32:
        raise ConfigError(f"{source} does not hold 64 hexadecimal digits", hint="restore it from a backup")
    return key
