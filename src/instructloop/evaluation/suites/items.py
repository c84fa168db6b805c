"""The items of a suite: which are scored, which serve as worked examples, and why a suite cannot be run here."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from instructloop.core.errors import ConfigError, DataError, InstructLoopError
from instructloop.core.seeds import permutation
from instructloop.evaluation.suites.catalogue import SET_OF
from instructloop.evaluation.suites.suite import Suite
from instructloop.scoring.sets import SETS, Found, Item, find_set, read_set

HUB = "hub:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """Items of one suite."""

    scored: tuple[Item, ...]
    shots: tuple[Item, ...] = ()
    """Worked examples; they share no passage or dialogue with a scored item."""
    files: tuple[str, ...] = ()
    note: str = ""
    """Why these are not quite the set itself; empty where they are."""

    @property
    def digest(self) -> str:
        """Hash of what the items say: answers are taken up again only for the same items."""
        said = [[item.id, dict(item.fields), list(item.references), item.group] for item in (*self.scored, *self.shots)]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def load(suite: Suite, data: Sequence[str], *, limit: int, seed: int, any_file: bool = False) -> Loaded | str:
    """Items of a suite from the first of these places that has them.

    Args:
        suite: needs them.
        data: folders, files, ``hub:`` or ``hub:owner/name:configuration#split``.
        limit: score a random part of this size; 0 scores all.
        seed: draws worked examples and the part.
        any_file: take a file for this suite's whatever its name is.

    Returns:
        The items, or the reason why there are none and where they come from.

    Raises:
        DataError: a row of a file that was found cannot be used.
    """
    if suite.built_in is not None:
        return Loaded(scored=tuple(suite.built_in()))
    name = SET_OF.get(suite.name, suite.name)
    info = SETS[name]
    needed = max(variant.shots for variant in suite.variants)
    reasons = []
    for place in data:
        files: tuple[str, ...] = (place,)
        note = ""
        if not place.startswith(HUB):
            found = _found(name, place, any_file)
            if found is None:
                continue
            files, note = tuple(str(file) for file in found.files), found.note
        elif not info.hub and place == HUB:
            continue
        try:
            every = read_set(name, place, limit=0 if needed else limit, seed=seed)
        except InstructLoopError as error:
            if not place.startswith(HUB):
                raise
            reasons.append(str(error))
            continue
        shots, scored = divide(_unique(every), needed, limit=limit, seed=seed, name=name)
        return Loaded(scored=scored, shots=shots, files=files, note=note)
    where = f"no file of {info.title} in {', '.join(data) or 'no place at all: --data is empty'}"
    return "; ".join([where, *reasons, f"get it from {info.source}" + (f" or --data {HUB}{info.hub}" if info.hub else "")])


def divide(items: Sequence[Item], shots: int, *, limit: int, seed: int, name: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Worked examples from different groups, and the items to be scored: those of other groups, at most ``limit`` of them.

    At most a quarter of the groups serve as examples, so that a small set still has something to be scored.
    """
    order = permutation(len(items), seed, "shots", name)
    groups = {item.group or item.id for item in items}
    wanted = min(shots, len(groups) // 4)
    examples: dict[str, Item] = {}
    for place in order:
        if len(examples) == wanted:
            break
        examples.setdefault(items[place].group or items[place].id, items[place])
    left = [place for place in range(len(items)) if (items[place].group or items[place].id) not in examples]
    if shots and 0 < limit < len(left):
        drawn = permutation(len(left), seed, "set", name)[:limit]
        left = sorted(left[number] for number in drawn)
    return tuple(examples.values()), tuple(items[place] for place in left)


def load_all(suites: Sequence[Suite], data: Sequence[str], *, limit: int, seed: int) -> dict[str, Loaded | str]:
    """Items, or the reason for none, of every suite.

    Raises:
        ConfigError: no file of any suite is there.
        DataError: a place does not exist, or a row cannot be used.
    """
    for place in data:
        if not place.startswith(HUB) and not Path(place).exists():
            raise DataError(f"--data: no such file or folder: {place}", hint=f"a hub name is written {HUB}owner/name#split")
    files = [suite.name for suite in suites if suite.built_in is None]
    found = {suite.name: load(suite, data, limit=limit, seed=seed, any_file=len(files) == 1) for suite in suites}
    if files and not any(isinstance(found[name], Loaded) for name in files):
        raise ConfigError(
            f"none of the suites' data is there: {', '.join(files)}",
            hint=f"give the folder that holds the sets with --data; {found[files[0]]}",
        )
    return found


def _found(name: str, place: str, any_file: bool) -> Found | None:
    """Files of a set. Among several suites, a single file serves the one whose name or file name it bears."""
    path, info = Path(place), SETS[name]
    if (
        path.is_file()
        and not any_file
        and not any(path.name.lower().startswith(stem) for stem in (*info.names, *(Path(file).stem for file in info.files)))
    ):
        return None
    return find_set(name, place)


def _unique(items: Sequence[Item]) -> list[Item]:
    """Items with ids that occur once: answers of several models are paired by id."""
    seen: dict[str, int] = {}
    found = []
    for item in items:
        seen[item.id] = seen.get(item.id, 0) + 1
        found.append(item if seen[item.id] == 1 else replace(item, id=f"{item.id}#{seen[item.id]}"))
    return found
