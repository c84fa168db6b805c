"""Test prompts that a model has seen: trained on, or used to choose it (spec J-P18: selection and test prompts are separate).

Every model's lineage is walked back to the files it was made from, and their prompts are compared with the test prompts as normalized
texts (``prompt_hash``). What the lineage can't tell (hub data sets, files that are gone) is listed, not guessed.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import PromptContent, prompt_text
from instructloop.formats import read_demonstrations, read_prompts, read_rankings
from instructloop.runs import enclosing_run, lineage, resolve_model
from instructloop.runs.lineage import Node
from instructloop.runs.prompts_used import prompt_hash, selections
from instructloop.runs.snapshots import is_snapshot, snapshot_file

logger = logging.getLogger(__name__)
_READERS: Mapping[str, Callable[..., Any]] = {
    "demonstrations": read_demonstrations,
    "rankings": read_rankings,
    "prompts": read_prompts,
    "watch_prompts": read_prompts,
}
_SELECTING = frozenset({"validation", "watch_prompts"})
"""Roles of files on which a run chose, without training on them."""
_EXAMINES = frozenset({"evaluate", "miniature.evaluate", "people", "inspect", "report"})
"""Stages whose prompts are test prompts themselves."""
_EXAMPLE = 80
ANY_USE = frozenset({"training", "selection"})
TRAINING = frozenset({"training"})
"""What selection prompts must not have been used for; choosing twice by the same prompts is no harm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """Test prompts that one file or one choice has in common with a lineage."""

    use: str
    """``training`` or ``selection``."""
    where: str
    """The file, or the run and what was chosen in it."""
    hashes: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What was found about a set of test prompts."""

    prompts: int
    """Different test prompts."""
    contacts: tuple[Contact, ...]
    checked: int
    """Files and notes whose prompts were compared."""
    unread: tuple[str, ...]
    """Data in the lineage that could not be read."""
    example: str = ""
    """The first test prompt that was seen."""

    @property
    def hashes(self) -> frozenset[str]:
        """Test prompts that were seen at all."""
        return frozenset().union(*(contact.hashes for contact in self.contacts))

    def as_json(self) -> dict[str, Any]:
        """The layout of ``seen_prompts`` in a table."""
        return {
            "n": len(self.hashes),
            "of": self.prompts,
            "by": [{"use": one.use, "where": one.where, "n": len(one.hashes)} for one in self.contacts],
            "checked": self.checked,
            "unread": list(self.unread),
        }


@dataclass(slots=True)
class _Search:
    wanted: Mapping[str, str]
    contacts: list[Contact] = field(default_factory=list)
    checked: set[str] = field(default_factory=set)
    unread: dict[str, None] = field(default_factory=dict)

    def compare(self, use: str, where: str, hashes: Iterable[str]) -> None:
        found = frozenset(one for one in hashes if one in self.wanted)
        if found:
            self.contacts.append(Contact(use=use, where=where, hashes=found))

    def walk(self, node: Node) -> None:
        self._own_notes(node.path)
        for child in node.parents:
            role = _base(child.role)
            if node.stage not in _EXAMINES and (role in _READERS or role == "validation"):
                use = "selection" if role in _SELECTING or node.stage == "select" else "training"
                self._file(child.path, role, use, node.stage)
            self.walk(child)

    def _own_notes(self, path: Path) -> None:
        run = enclosing_run(path) if path.exists() else None
        if run is None or f"notes:{run}" in self.checked:
            return
        for choice in selections(run):
            self.checked.add(f"notes:{run}")
            self.compare("selection", f"{run}: {choice.what}" + (f" ({choice.by})" if choice.by else ""), choice.hashes)

    def _file(self, path: Path, role: str, use: str, stage: str | None) -> None:
        name = f"{use}:{path}"
        if name in self.checked:
            return
        try:
            for file, kind, purpose in _files(path, role, use, stage):
                hashes = [prompt_hash(record.prompt) for record in _READERS[kind](file, skip_bad_rows=True).records]
                self.compare(purpose, f"{role} {file}", hashes)
            self.checked.add(name)
        except (DataError, OSError) as problem:
            logger.info("%s: prompts can't be compared: %s", path, problem)
            self.unread[str(path)] = None


def _base(role: str) -> str:
    """``rankings 2`` -> ``rankings``."""
    return role.rpartition(" ")[0] if role.rpartition(" ")[2].isdigit() else role


def _files(path: Path, role: str, use: str, stage: str | None) -> Iterator[tuple[Path, str, str]]:
    """(file, kind of its rows, use) behind one input; a snapshot brings its valid split for selection."""
    if not path.exists():
        raise DataError(f"{path} is not here", hint="run where the data lies")
    kind = role if role in _READERS else ("rankings" if stage == "rm" else "demonstrations")
    if not is_snapshot(path):
        yield path, kind, use
        return
    for split, purpose in (("train", use), ("valid", "selection")):
        found = snapshot_file(path, kind, split, optional=True)
        if found is not None:
            yield found, kind, purpose


def seen_prompts(paths: Iterable[str | Path], prompts: Sequence[PromptContent]) -> Seen:
    """Which test prompts the lineages of models (or of completions) have seen.

    Args:
        paths: run directories, model directories or files; hub names have no lineage here.
        prompts: the test prompts.
    """
    wanted: dict[str, str] = {}
    for prompt in prompts:
        wanted.setdefault(prompt_hash(prompt), prompt_text(prompt))
    search = _Search(wanted)
    for path in dict.fromkeys(str(path) for path in paths):
        place = resolve_model(path)
        if place.exists():
            search.walk(lineage(place))
    seen = frozenset().union(*(contact.hashes for contact in search.contacts))
    example = next((text for one, text in wanted.items() if one in seen), "")
    return Seen(
        prompts=len(wanted),
        contacts=tuple(search.contacts),
        checked=len(search.checked),
        unread=tuple(search.unread),
        example=example,
    )


def refuse_seen(
    paths: Iterable[str | Path],
    prompts: Sequence[PromptContent],
    *,
    allow: bool = False,
    what: str = "test",
    uses: frozenset[str] = ANY_USE,
) -> Seen:
    """``seen_prompts``, refusing contact unless it is allowed.

    Args:
        paths: what is tested.
        prompts: on what.
        allow: go on all the same.
        what: how the message calls the prompts.
        uses: the kinds of contact that are refused.

    Raises:
        ConfigError: prompts were seen; the message counts them by use and names one of them and where it was seen.
    """
    found = seen_prompts(paths, prompts)
    if found.unread:
        logger.warning(
            "%d data files in the models' lineage can't be read; their prompts are not compared: %s", len(found.unread), found.unread[0]
        )
    if not any(contact.use in uses for contact in found.contacts):
        return found
    counts = {use: len(frozenset().union(*(one.hashes for one in found.contacts if one.use == use))) for use in ("training", "selection")}
    message = (
        f"{len(found.hashes)} of {found.prompts} {what} prompts are not held out ({counts['training']} trained on, "
        f"{counts['selection']} used for selection), for example {found.example[:_EXAMPLE]!r} in {found.contacts[0].where}"
    )
    if not allow:
        raise ConfigError(
            message, hint="use prompts of another split; --allow-seen-prompts goes on all the same and says so in every table"
        )
    logger.warning("%s; allowed", message)
    return found
