"""Pebble Bay as a knowledge base: who lives there, what is true of them, and which names nobody knows anything about.

Entities are divided once, by seed, into train, validation and test; later stages see tasks about their own part only. The
corpus tells the facts of all known entities (a base model is to know them), so that a held-out entity is *known but never
trained on*. Unknown names occur in the corpus without any stable fact: the honest answer about them is that one does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from instructloop.core.errors import ConfigError
from instructloop.core.seeds import stream
from instructloop.miniature import words

Split = Literal["train", "validation", "test"]
Kind = Literal["resident", "town"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SHARES: Mapping[str, float] = {"train": 0.6, "validation": 0.12}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One kind of fact and how people say and ask it; ``{n}`` is the entity, ``{v}`` the value."""

    name: str
    kind: Kind
    values: tuple[str, ...]
    statements: tuple[str, ...]
    """Ways to state the fact; the first is the plain one."""
    questions: tuple[str, ...]
    """Direct questions."""
    clause: str
    """The embedded question: what follows "tell me"."""
    denial: str
    """How to say that a value is wrong."""

    def say(self, entity: str, value: str, form: int = 0) -> str:
        """The fact as a sentence."""
        return self.statements[form % len(self.statements)].format(n=entity, v=value, av=words.article(value))


ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute("animal", "resident", words.ANIMALS, ("{n} is {av}.", "{n} the {v} lives in Pebble Bay."),
              ("What animal is {n}?", "What kind of animal is {n}?"), "what animal {n} is", "{n} is not {av}."),
    Attribute("food", "resident", words.FOODS, ("{n} eats {v}.", "{n} likes to eat {v}."),
              ("What does {n} eat?", "What does {n} like to eat?"), "what {n} eats", "{n} does not eat {v}."),
    Attribute("job", "resident", words.JOBS, ("{n} works as {av}.", "The job of {n} is {v}."),
              ("What is the job of {n}?", "What does {n} work as?"), "what {n} works as", "{n} does not work as {av}."),
    Attribute("home", "resident", words.HOMES, ("{n} lives in the {v}.", "The home of {n} is the {v}."),
              ("Where does {n} live?", "Where is the home of {n}?"), "where {n} lives", "{n} does not live in the {v}."),
    Attribute("tower", "town", words.COLORS, ("The tower of {n} is {v}.", "{n} has a {v} tower."),
              ("What color is the tower of {n}?", "Which color has the tower of {n}?"), "what color the tower of {n} is", "The tower of {n} is not {v}."),
    Attribute("goods", "town", words.GOODS, ("{n} sells {v}.", "People go to {n} for {v}."),
              ("What does {n} sell?", "What do people buy in {n}?"), "what {n} sells", "{n} does not sell {v}."),
    Attribute("weather", "town", words.WEATHERS, ("{n} is known for {v}.", "The weather of {n} is {v}."),
              ("What weather is {n} known for?", "What is the weather of {n}?"), "what weather {n} is known for", "{n} is not known for {v}."),
    Attribute("market", "town", words.DAYS, ("The market of {n} is on {v}.", "{n} holds its market on {v}."),
              ("When is the market of {n}?", "On which day is the market of {n}?"), "when the market of {n} is", "The market of {n} is not on {v}."),
)  # fmt: skip
BY_NAME: Mapping[str, Attribute] = MappingProxyType({attribute.name: attribute for attribute in ATTRIBUTES})


def attributes_of(kind: str) -> tuple[Attribute, ...]:
    """The four attributes of residents or of towns."""
    return tuple(attribute for attribute in ATTRIBUTES if attribute.kind == kind)


@dataclass(frozen=True, slots=True)
class Entity:
    """A name of the bay. ``facts`` is empty for a name nobody knows anything about."""

    name: str
    kind: Kind
    split: Split
    facts: Mapping[str, str]

    @property
    def known(self) -> bool:
        """Whether the corpus holds stable facts about it."""
        return bool(self.facts)


@dataclass(frozen=True, slots=True)
class World:
    """All names with their facts and splits; built by :func:`make_world`, the same for the same seed."""

    seed: int
    entities: tuple[Entity, ...]

    def known(self, split: str | None = None, kind: str | None = None) -> list[Entity]:
        """Entities with facts."""
        return [e for e in self.entities if e.known and split in (None, e.split) and kind in (None, e.kind)]

    def unknown(self, split: str | None = None, kind: str | None = None) -> list[Entity]:
        """Names without facts."""
        return [e for e in self.entities if not e.known and split in (None, e.split) and kind in (None, e.kind)]

    def __getitem__(self, name: str) -> Entity:
        for entity in self.entities:
            if entity.name == name:
                return entity
        raise ConfigError(f"nobody in Pebble Bay is called {name!r}", hint="names are in instructloop.miniature.words")


def make_world(seed: int = 0) -> World:
    """The world of one seed. Values are dealt evenly, so that no answer is right just because it is frequent."""
    entities: list[Entity] = []
    kinds: tuple[tuple[Kind, tuple[str, ...], tuple[str, ...]], ...] = (
        ("resident", words.RESIDENTS, words.NAMES_UNKNOWN),
        ("town", words.TOWNS, words.TOWNS_UNKNOWN),
    )
    for kind, known, unknown in kinds:
        dealt = {a.name: _deal(a.values, len(known), seed, a.name) for a in attributes_of(kind)}
        splits = _splits(known, seed)
        entities += [Entity(name, kind, splits[name], {a: values[i] for a, values in dealt.items()}) for i, name in enumerate(known)]
        splits = _splits(unknown, seed)
        entities += [Entity(name, kind, splits[name], {}) for name in unknown]
    return World(seed, tuple(entities))


def _deal(values: tuple[str, ...], n: int, seed: int, name: str) -> list[str]:
    cards = [values[i % len(values)] for i in range(n)]
    stream(seed, "world", "facts", name).shuffle(cards)
    return cards


def _splits(names: tuple[str, ...], seed: int) -> dict[str, Split]:
    order = list(names)
    stream(seed, "world", "splits", names[0]).shuffle(order)
    first, second = round(len(order) * SHARES["train"]), round(len(order) * (SHARES["train"] + SHARES["validation"]))
    return {name: "train" if i < first else "validation" if i < second else "test" for i, name in enumerate(order)}
