"""TOML in, validated frozen dataclass out; JSON into the run directory and back."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from instructloop.core.errors import ConfigError

C = TypeVar("C")


def from_mapping(kind: type[C], values: Mapping[str, Any], *, where: str = "configuration") -> C:
    """Build a configuration from plain values; an unknown key or bad type raises ConfigError naming it."""
    import pydantic

    _refuse_unknown(kind, values, where)
    try:
        return pydantic.TypeAdapter(kind).validate_python(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            raise ConfigError(f"{where}: {cause.message}", hint=cause.hint) from error
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {place}: {first['msg']} (got {first.get('input')!r})") from error


def _refuse_unknown(kind: Any, values: Mapping[str, Any], where: str) -> None:
    hints = get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            raise ConfigError(
                f"{where}: unknown key {key!r}", hint=f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(hints)}"
            )
        if dataclasses.is_dataclass(hints[key]) and isinstance(value, Mapping):
            _refuse_unknown(hints[key], value, f"{where}: {key}")


def read_toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file; a syntax error raises ConfigError with its line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no such file: {path}", hint="check the path, or list the presets: instructloop run --list") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}", hint="TOML: text values need quotes, tables stand in [brackets]") from error


def load_toml(kind: type[C], path: Path) -> C:
    """A configuration from a TOML file."""
    return from_mapping(kind, read_toml(path), where=str(path))


def to_json(config: Any) -> dict[str, Any]:
    """The configuration as JSON-ready values; ``from_mapping`` of the result gives an equal configuration."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False, default=dict))
    return values


def from_command_line(kind: type[C], arguments: Sequence[str], *, prog: str, description: str, default: C | None = None) -> C:
    """Parse ``--field value`` arguments over a default with tyro (field docstrings are the help)."""
    import tyro

    if default is None:
        return tyro.cli(kind, args=list(arguments), prog=prog, description=description)
    return tyro.cli(kind, args=list(arguments), prog=prog, description=description, default=default)
