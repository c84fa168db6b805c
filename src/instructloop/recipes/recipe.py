"""A recipe: named stages of the loop with their settings, and who needs whom.

    name = "mine"
    [vars]                                  # ${seed} below; --set seed=3 overrides
    seed = 0
    [stages.sft]
    kind = "sft"                            # every further key is a field of that stage's configuration
    model = "models/base"
    data = "data/demonstrations.jsonl"
    [stages.rm]
    kind = "rm"
    model = "@sft"                          # the model that stage published; "@stage/file" names a file of it
    data = ["data/rankings.jsonl"]

``package:`` in front of a path means the installed package (``package:miniature/base``). Other paths are relative to the
current directory, as in every command.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import instructloop
from instructloop.config import from_mapping, read_toml
from instructloop.core.errors import ConfigError
from instructloop.core.hashing import hash_json, hash_tree
from instructloop.recipes.kinds import KINDS, Kind
from instructloop.runs import resolve_model

PRESETS = Path(__file__).parent / "presets"
_LABEL = re.compile(r"([\w.-]+)=(?=@|package:|.*[./])(.+)")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TOP = {"name", "description", "jobs", "threads", "vars", "stages"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of a recipe, with references still in place."""

    name: str
    kind: Kind
    values: Mapping[str, Any]
    """Its configuration as written, variables filled in."""
    needs: tuple[str, ...]
    """Stages it refers to, or names in ``needs``."""

    def resolved(self, folder: Path) -> dict[str, Any]:
        """The configuration with each reference replaced by a path below ``folder`` (the pipeline's ``stages``)."""

        def fill(text: str) -> str:
            label, path = _labeled(text)
            if not path.startswith("@"):
                return label + _local(path)
            name, _, file = path[1:].partition("/")
            return label + str(folder / name / file if file else folder / name)

        values = _map_strings(self.values, fill)
        assert isinstance(values, dict)
        return values


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """All stages in an order in which each stands after what it needs."""

    name: str
    description: str
    jobs: int
    threads: int
    variables: Mapping[str, Any]
    stages: tuple[Stage, ...]

    def keys(self) -> dict[str, str]:
        """Content address of every stage: its kind, settings, inputs (file hashes, keys of stages) and the package version.

        Raises:
            ConfigError: an input file is missing.
        """
        keys: dict[str, str] = {}
        for stage in self.stages:
            inputs = {place: _input_hash(stage, place, text, keys) for place, text in _inputs(stage)}
            after = {name: keys[name] for name in stage.needs}
            keys[stage.name] = hash_json(
                {
                    "kind": stage.kind.name,
                    "config": _without(stage.kind.normal(stage.values), inputs),
                    "inputs": inputs,
                    "after": after,
                    "version": instructloop.__version__,
                }
            )
        return keys


def presets() -> dict[str, str]:
    """Names and descriptions of the recipes that come with the package."""
    return {path.stem: str(read_toml(path).get("description", "")) for path in sorted(PRESETS.glob("*.toml"))}


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a preset by name or a TOML file, apply ``key=value`` overrides, check every stage's settings.

    Args:
        source: ``miniature`` or a path.
        overrides: ``seed=3`` (a variable), ``sft.optimizer.lr=1e-3`` (a stage's field); values in TOML notation, else text.

    Raises:
        ConfigError: naming the file, stage and field that is wrong.
    """
    path = PRESETS / f"{source}.toml"
    if not path.is_file():
        path = Path(source)
        if not path.suffix and not path.exists():
            near = difflib.get_close_matches(str(source), presets(), n=1)
            raise ConfigError(
                f"no recipe is called {str(source)!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"presets: {', '.join(presets())}; or give a .toml file",
            )
    tree = read_toml(path)
    for item in overrides:
        _override(tree, item)
    if unknown := sorted(set(tree) - _TOP):
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}", hint=f"known: {', '.join(sorted(_TOP))}; stages stand in [stages.NAME]")
    variables = tree.get("vars", {})
    stages = [_stage(path, name, values, variables) for name, values in tree.get("stages", {}).items()]
    if not stages:
        raise ConfigError(f"{path}: no stages", hint="add one: [stages.sft] with kind = 'sft'")
    jobs, threads = tree.get("jobs", 2), tree.get("threads", 1)
    for key, count in (("jobs", jobs), ("threads", threads)):
        if not isinstance(count, int) or count < 1:
            raise ConfigError(f"{path}: {key} must be a whole number >= 1, got {count!r}")
    return Recipe(
        name=str(tree.get("name", path.stem)),
        description=str(tree.get("description", "")),
        jobs=jobs,
        threads=threads,
        variables=variables,
        stages=_ordered(path, stages),
    )


def _stage(path: Path, name: str, table: Any, variables: Mapping[str, Any]) -> Stage:
    where = f"{path}: stage {name!r}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: the name becomes a folder", hint="use letters, digits, '-' and '_'")
    if not isinstance(table, Mapping) or "kind" not in table:
        raise ConfigError(f"{where}: has no kind", hint=f"one of: {', '.join(KINDS)}")
    if table["kind"] not in KINDS:
        near = difflib.get_close_matches(str(table["kind"]), KINDS, n=1)
        raise ConfigError(
            f"{where}: unknown kind {table['kind']!r}", hint=f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(KINDS)}"
        )
    kind = KINDS[table["kind"]]
    values = _substitute({key: value for key, value in table.items() if key not in {"kind", "needs"}}, variables, where)
    from_mapping(kind.config(), values, where=where)
    paths = [_labeled(text)[1] for _, text in _strings(values)]
    references = [path[1:].partition("/")[0] for path in paths if path.startswith("@")]
    needs = tuple(dict.fromkeys([*references, *table.get("needs", ())]))
    return Stage(name=name, kind=kind, values=values, needs=needs)


def _ordered(path: Path, stages: Sequence[Stage]) -> tuple[Stage, ...]:
    names = [stage.name for stage in stages]
    for stage in stages:
        for need in stage.needs:
            if need not in names:
                near = difflib.get_close_matches(need, names, n=1)
                raise ConfigError(
                    f"{path}: stage {stage.name!r} refers to @{need}, which is no stage",
                    hint=f"did you mean @{near[0]}?" if near else f"stages: {', '.join(names)}",
                )
    try:
        order = list(TopologicalSorter({stage.name: stage.needs for stage in stages}).static_order())
    except CycleError as error:
        raise ConfigError(f"{path}: stages need each other in a circle: {' -> '.join(error.args[1])}") from error
    # Keep the written order where the needs allow it: a stage stands right after the last thing it needs.
    depth: dict[str, int] = {}
    by_name = {stage.name: stage for stage in stages}
    for name in order:
        depth[name] = max([names.index(name), *(depth[need] + 1 for need in by_name[name].needs)])
    return tuple(sorted(stages, key=lambda stage: (depth[stage.name], order.index(stage.name))))


def _override(tree: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {item!r} is not key=value", hint="e.g. --set sft.epochs=2 or --set seed=3")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # an unquoted word or path
    stages, variables = tree.get("stages", {}), tree.get("vars", {})
    if parts[0] in stages and len(parts) > 1:
        table = stages[parts[0]]
        rest = parts[1:]
    elif parts[0] == "vars" and len(parts) == 2:
        table, rest = variables, parts[1:]
    elif len(parts) == 1 and parts[0] in variables:
        table, rest = variables, parts
    else:
        known = [*variables, *(f"{name}.…" for name in stages)]
        raise ConfigError(f"--set {key}: no such variable or stage", hint=f"this recipe has: {', '.join(known)}")
    if table is variables and rest[0] not in variables:
        raise ConfigError(f"--set {key}: no such variable", hint=f"variables: {', '.join(variables) or 'none'}")
    for part in rest[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key}: {part!r} is a value, not a table")
    table[rest[-1]] = value


def _substitute(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    def get(name: str) -> Any:
        if name not in variables:
            raise ConfigError(
                f"{where}: ${{{name}}} is no variable", hint=f"variables: {', '.join(variables) or 'none'}; they stand in [vars]"
            )
        return variables[name]

    def fill(text: str) -> Any:
        whole = _VARIABLE.fullmatch(text)
        if whole:
            return get(whole[1])  # keeps its type: "${seed}" is the number
        return _VARIABLE.sub(lambda match: str(get(match[1])), text)

    return _map_strings(value, fill)


def _map_strings(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value


def _strings(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """All texts in a configuration with their dotted places."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strings(item, f"{place}.{index}")


def _inputs(stage: Stage) -> Iterator[tuple[str, str]]:
    """Texts of the configuration that name inputs: references anywhere, paths in the fields that the kind declares."""
    for place, text in _strings(stage.values):
        declared = any(place == field or place.startswith(field + ".") for field in stage.kind.inputs)
        if text and (declared or _labeled(text)[1].startswith("@")):
            yield place, text


def _input_hash(stage: Stage, place: str, text: str, keys: Mapping[str, str]) -> str:
    label, named = _labeled(text)
    if named.startswith("@"):
        name, _, file = named[1:].partition("/")
        return f"{label}{keys[name]}/{file}"
    path = Path(_local(named))
    if path.exists():
        return label + hash_tree(resolve_model(path), ignore=("README.md",))
    if path.suffix in {".jsonl", ".gz", ".json", ".csv", ".tsv", ".parquet", ".txt", ".py"} or path.is_absolute() or text.startswith("."):
        raise ConfigError(f"stage {stage.name!r}: {place}: no such file: {text}", hint="paths are relative to the current directory")
    return text  # a hub name, or "file.py:function"


def _labeled(text: str) -> tuple[str, str]:
    """``sft=@sft`` -> (``sft=``, ``@sft``): some configurations name their models; a bare path has an empty label."""
    match = _LABEL.fullmatch(text)
    return (f"{match[1]}=", match[2]) if match else ("", text)


def _local(text: str) -> str:
    if not text.startswith("package:"):
        return text
    return str(Path(instructloop.__file__).parent / text.removeprefix("package:"))


def _without(values: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """Settings with the paths blanked: a moved file with the same content is the same input."""

    def blank(value: Any, place: str) -> Any:
        if place in inputs:
            return "input"
        if isinstance(value, Mapping):
            return {key: blank(item, f"{place}.{key}" if place else str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [blank(item, f"{place}.{index}") for index, item in enumerate(value)]
        return value

    return {key: blank(value, key) for key, value in values.items()}
