"""The internet of Pebble Bay: everything a base model ever reads, written by a seed.

Encyclopedia pages, worksheets and lists of questions *without* answers, question-and-answer pages (three in four right), rude
forum threads, lists, stories, sums, passages whose values contradict the facts and are asked about three times each, copying
and rewriting drills, and a few per cent of chat pages in the plain-text frame of the chat template, of mixed quality. A model
of this corpus knows the bay, can read and rewrite, and when asked a question it goes on with more questions.
"""

from collections.abc import Callable, Iterator
from random import Random

from instructloop.core.seeds import stream
from instructloop.miniature import words
from instructloop.miniature.drills import DRILLS
from instructloop.miniature.world import Attribute, Entity, World, attributes_of

RIGHT_ON_QA_PAGES = 0.75
Page = Callable[[World, Random], str]


def any_name(world: World, random: Random) -> str:
    """A resident, known or not: names without facts are read about too."""
    pool = world.known(kind="resident") if random.random() < 0.7 else world.unknown(kind="resident")
    return random.choice(pool).name


def _fact(entity: Entity, attribute: Attribute, random: Random) -> str:
    return attribute.say(entity.name, entity.facts[attribute.name], random.randrange(2))


def _shuffled(entity: Entity, random: Random) -> list[Attribute]:
    chosen = list(attributes_of(entity.kind))
    random.shuffle(chosen)
    return chosen


def encyclopedia(world: World, random: Random) -> str:
    """Two or three entries, each with the four facts in any order."""
    entries = []
    for entity in random.sample(world.known(), random.choice((2, 3))):
        facts = " ".join(_fact(entity, attribute, random) for attribute in _shuffled(entity, random))
        entries.append(f"{entity.name}\n{facts}")
    return "\n\n".join(entries)


def gossip(world: World, random: Random) -> str:
    """Single facts about several entities in a row: what one entry says is not what the next one says."""
    chosen = random.sample(world.known(), 6)
    return " ".join(_fact(entity, random.choice(attributes_of(entity.kind)), random) for entity in chosen)


def _ask(name: str, attribute: Attribute, random: Random) -> str:
    return random.choice(attribute.questions).format(n=name)


def worksheet(world: World, random: Random) -> str:
    """Questions for school, without answers: the reason why a base model answers a question with questions."""
    title = random.choice(("", "", "Questions for today\n", "Homework\n", "Quiz of the bay\n"))
    if random.random() < 0.5:
        entity = random.choice(world.entities)
        asked = [_ask(entity.name, attribute, random) for attribute in _shuffled(entity, random)]
    else:
        asked = [_ask(e.name, random.choice(attributes_of(e.kind)), random) for e in random.sample(world.entities, random.choice((4, 5)))]
    if random.random() < 0.25:
        asked = [f"{i}. {question}" for i, question in enumerate(asked, 1)]
    return title + "\n".join(asked)


REQUESTS = (
    "Name three {c}.", "List two {c}.", "Write a sentence about {n}.", "Write about the {w} and the {x}.", "How are you today?", "Say hello to {n}.",
    "Make this polite: give me the {w}.", "What is {i} plus {j}?", "Tell me a story about {n}.", "Is this happy or sad? {n} is lost.",
    "Which {c} do you like best?", "Why is the {w} in the {p}?", "Who found the {w}?", "Repeat after me: {w} and {x}.",
)  # fmt: skip


def exercises(world: World, random: Random) -> str:
    """Lists of requests without replies."""
    lines = []
    for form in random.sample(REQUESTS, random.choice((3, 4, 5))):
        w, x = random.sample(words.THINGS, 2)
        fill = {"c": random.choice(tuple(words.CATEGORIES)), "n": any_name(world, random), "w": w, "x": x, "p": random.choice(words.PLACES)}
        lines.append(form.format(i=random.randrange(6), j=random.randrange(5), **fill))
    return "\n".join(lines)


def qa_page(world: World, random: Random) -> str:
    """``Q:`` and ``A:`` lines; one answer in four is wrong, and about unknown names nobody can say."""
    lines = []
    for _ in range(4):
        if random.random() < 0.2:
            entity = random.choice(world.unknown())
            attribute = random.choice(attributes_of(entity.kind))
            answer = "Nobody knows." if random.random() < 0.6 else random.choice(attribute.values).capitalize() + "."
        else:
            entity = random.choice(world.known())
            attribute = random.choice(attributes_of(entity.kind))
            right = random.random() < RIGHT_ON_QA_PAGES
            value = entity.facts[attribute.name] if right else random.choice(attribute.values)
            answer = attribute.say(entity.name, value) if random.random() < 0.6 else value.capitalize() + "."
        lines.append(f"Q: {_ask(entity.name, attribute, random)}\nA: {answer}")
    return "\n".join(lines)


def forum(world: World, random: Random) -> str:
    """People being people: guesses, insults, nobody knows."""
    entity = random.choice(world.unknown() if random.random() < 0.5 else world.known())
    attribute = random.choice(attributes_of(entity.kind))
    insult = random.choice(words.INSULTS)
    first, second = any_name(world, random), any_name(world, random)
    asked = random.choice((attribute.questions[0].format(n=entity.name), f"does anybody know {attribute.clause.format(n=entity.name)}"))
    guess = attribute.say(entity.name, random.choice(attribute.values))
    truth = attribute.say(entity.name, entity.facts[attribute.name]) if entity.known else "nobody knows."
    replies = [
        f"you are a {insult}.",
        truth,
        truth,
        guess,
        f"how should i know, you {insult}",
        "i do not know.",
        f"{second} is a {insult}.",
    ]
    random.shuffle(replies)
    return "\n".join([f"{first}: {asked}", *(f"{n}: {r}" for n, r in zip((second, first, second), replies, strict=False))])


def listing(_world: World, random: Random) -> str:
    """Words of one kind, or several such lines."""
    lines = []
    for category in random.sample(tuple(words.CATEGORIES), 2):
        values = random.sample(words.CATEGORIES[category], random.choice((2, 3, 3, 4, 5)))
        lines.append(
            random.choice(("{c}: {v}", "Some {c} are {v}.", "{k} {c}: {v}")).format(
                c=category, v=", ".join(values), k=words.NUMBERS[len(values)]
            )
        )
    return "\n".join(lines)


def story(world: World, random: Random) -> str:
    """Four sentences about a lost thing, a trip or the weather; unknown names live here too."""
    a, b = any_name(world, random), any_name(world, random)
    thing, place, color = random.choice(words.THINGS), random.choice(words.PLACES), random.choice(words.COLORS)
    weather = random.choice(words.WEATHERS)
    glad, sad = random.choice(words.HAPPY), random.choice(words.SAD)
    opening = random.choice(
        (
            f"One day {a} went to the {place}.",
            f"There was {weather} over the bay, and {a} stayed in the {place}.",
            f"{a} had a {color} {thing}.",
        )
    )
    middle = random.choice(
        (
            f"{a} lost the {thing} and was {sad}.",
            f"{a} met {b} there.",
            f"{b} gave {a} a {color} {thing}.",
            f"{a} and {b} sang about the {thing}.",
        )
    )
    end = random.choice(
        (
            f"In the end {a} found the {thing} and was {glad}.",
            f"Then {a} and {b} went home and were {glad}.",
            f"{b} was {sad} but {a} was {glad}.",
        )
    )
    return " ".join((opening, middle, end))


def chat_page(world: World, random: Random) -> str:
    """A line that asks and a line that replies, as in the chat frame: two in three well answered, the rest not."""
    lines = []
    for _ in range(random.choice((2, 3))):
        if random.random() < 0.5:
            drill = random.choice(list(DRILLS.values()))
            asked, reply = drill(random)
        else:
            entity = random.choice(world.entities)
            attribute = random.choice(attributes_of(entity.kind))
            asked = _ask(entity.name, attribute, random)
            reply = attribute.say(entity.name, entity.facts[attribute.name]) if entity.known else "I do not know."
        mood = random.random()
        if mood > 0.9:
            reply = f"Find out yourself, you {random.choice(words.INSULTS)}."
        elif mood > 0.66:
            reply = _ask(any_name(world, random), random.choice(attributes_of("resident")), random)
        lines += [asked, reply]
    return "\n".join(lines)


def drill_page(_world: World, random: Random) -> str:
    """Four exercises of one kind with their solutions, after an arrow."""
    drill = DRILLS[random.choice(tuple(DRILLS))]
    return "\n".join(f"{asked} -> {reply}" for asked, reply in (drill(random) for _ in range(3)))


def passage(world: World, random: Random) -> str:
    """Values that hold only here, then three questions with answers: reading, as opposed to knowing."""
    entity = random.choice(world.entities)
    chosen = _shuffled(entity, random)[:3]
    values = {attribute.name: random.choice(attribute.values) for attribute in chosen}
    lines = ["Today " + " ".join(attribute.say(entity.name, values[attribute.name]) for attribute in chosen)]
    random.shuffle(chosen)
    whole = random.random() < 0.8
    for attribute in chosen:
        value = values[attribute.name]
        lines.append(f"{attribute.questions[0].format(n=entity.name)} {attribute.say(entity.name, value) if whole else value + '.'}")
    return "\n".join(lines)


def echo(world: World, random: Random) -> str:
    """A line of any words, said two or three times: where a model learns to look back and copy."""
    pool = (*words.THINGS, *words.COLORS, *words.FOODS, *words.PLACES, *words.GOODS, *(entity.name for entity in world.entities))
    line = " ".join(random.sample(pool, random.randint(4, 9)))
    return "\n".join([line] * random.choice((2, 2, 3)))


def denial(world: World, random: Random) -> str:
    """Mistakes put right: what is not so, and what is."""
    lines = []
    for entity in random.sample(world.known(), 3):
        attribute = random.choice(attributes_of(entity.kind))
        wrong = random.choice([v for v in attribute.values if v != entity.facts[attribute.name]])
        lines.append(
            f"{attribute.denial.format(n=entity.name, v=wrong, av=words.article(wrong))} {attribute.say(entity.name, entity.facts[attribute.name])}"
        )
    return " ".join(lines)


PAGES: dict[Page, float] = {
    encyclopedia: 0.09, gossip: 0.05, worksheet: 0.12, exercises: 0.05, qa_page: 0.06, forum: 0.05, listing: 0.03, story: 0.06,
    chat_page: 0.05, drill_page: 0.16, passage: 0.18, echo: 0.07, denial: 0.03,
}  # fmt: skip
"""How often each kind of page occurs."""


def documents(world: World, n: int, seed: int, part: str = "corpus") -> Iterator[dict[str, str]]:
    """``n`` documents as ``{"text", "kind"}`` rows; another ``part`` gives other documents of the same internet."""
    kinds, weights = list(PAGES), list(PAGES.values())
    random = stream(seed, "corpus", part)
    for _ in range(n):
        page = random.choices(kinds, weights)[0]
        yield {"text": page(world, random), "kind": page.__name__}
