"""A registry of decorated factories, for the few places where outsiders add things (rewards, suites).

``@rewards.register("length_band") def length_band(low: int, high: int) -> Reward`` is a factory with plain arguments.
A configuration holds ``{"name": "length_band", "args": {"low": 1, "high": 20}}``; the run directory keeps it, so any past
object can be rebuilt. Third parties register through the entry-point group ``instructloop.<kind>`` (loaded on the first
miss) and call themselves ``package/name``.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from instructloop.core.errors import ConfigError

T = TypeVar("T")
Factory = TypeVar("Factory", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Factories of one kind by name. Names are part of saved runs: never rename, only add."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._factories: dict[str, Callable[..., T]] = {}
        self._plugins_loaded = False

    def register(self, name: str) -> Callable[[Factory], Factory]:
        """Decorator that stores a factory under a name; a name already taken raises ConfigError."""

        def store(factory: Factory) -> Factory:
            if name in self._factories:
                raise ConfigError(f"{self.kind} {name!r} is registered twice", hint="choose another name, e.g. 'mypackage/name'")
            self._factories[name] = factory
            return factory

        return store

    def names(self) -> list[str]:
        """All registered names, sorted, plug-ins included."""
        self._load_plugins()
        return sorted(self._factories)

    def describe(self) -> dict[str, str]:
        """Name to the first line of the factory's docstring."""
        return {name: (inspect.getdoc(self._factories[name]) or "").split("\n")[0] for name in self.names()}

    def build(self, name: str, args: Mapping[str, Any] | None = None) -> T:
        """Call the factory. An unknown name or argument raises ConfigError with the nearest match."""
        if name not in self._factories:
            self._load_plugins()
        if name not in self._factories:
            near = difflib.get_close_matches(name, self._factories, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(self._factories)) or 'none'}"
            raise ConfigError(f"no {self.kind} is called {name!r}", hint=hint)
        factory = self._factories[name]
        arguments = dict(args or {})
        try:
            inspect.signature(factory).bind(**arguments)
        except TypeError as error:
            raise ConfigError(f"{self.kind} {name!r}: {error}", hint=f"its arguments: {inspect.signature(factory)}") from error
        return factory(**arguments)

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for entry in entry_points(group=f"instructloop.{self.kind}"):
            entry.load()  # importing the module runs its decorators
