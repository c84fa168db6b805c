"""A function of the user's own, named on the command line as ``file.py:function`` or ``package.module:function``."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from instructloop.core.errors import ConfigError
from instructloop.core.hashing import hash_bytes


def load_function(path: str, *, what: str, example: str) -> Callable[..., Any]:
    """Import the function that ``path`` names.

    Args:
        path: ``file.py:function`` (relative to where the command runs) or ``package.module:function``.
        what: leads every message, e.g. ``rewards 'python'``.
        example: the shape of such a function, for hints.

    Raises:
        ConfigError: there is no such file, module or function, or it cannot be imported.
    """
    where, colon, name = path.rpartition(":")
    if not colon or not where or not name:
        raise ConfigError(f"{what}: {path!r} is not of the form file.py:function", hint="for example my_reward.py:score")
    module = _load_file(Path(where), what) if where.endswith(".py") else _load_module(where, what)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{what}: {where} has no function {name!r}", hint=example)
    found: Callable[..., Any] = function
    return found


def _load_file(file: Path, what: str) -> ModuleType:
    if not file.is_file():
        raise ConfigError(f"{what}: no such file: {file}", hint="paths are relative to where the command runs")
    unique = f"instructloop_user_{hash_bytes(str(file.resolve()).encode())[-12:]}"
    spec = importlib.util.spec_from_file_location(unique, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickles inside the file look themselves up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[unique]
        raise ConfigError(f"{what}: {file} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _load_module(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{what}: no module {name!r}: {error}", hint="install it, or give a file: my_reward.py:score") from error
