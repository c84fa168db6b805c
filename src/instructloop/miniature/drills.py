"""Small skills that can be read on exercise pages: listing, copying, rewriting, sorting, adding, summing up, greeting.

Each drill gives a request and its solution, both in the corpus's own words (the wording of instruction tasks differs: see
``tasks``). Test values are never shared with tasks, which use templates of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from instructloop.miniature import words

Drill = Callable[[Random], tuple[str, str]]

VERBS = {
    "eats": "ate",
    "finds": "found",
    "sings about": "sang about",
    "buys": "bought",
    "sees": "saw",
    "loses": "lost",
    "paints": "painted",
    "likes": "liked",
}
"""Present and past."""
NAMES = (*words.RESIDENTS, *words.NAMES_UNKNOWN)


def some_list(category: str, count: int, random: Random) -> str:
    """``count`` different words of a category, comma separated, closed by a full stop."""
    return ", ".join(random.sample(words.CATEGORIES[category], count)) + "."


def listing(random: Random) -> tuple[str, str]:
    category, count = random.choice(tuple(words.CATEGORIES)), random.choice((2, 3, 4))
    return f"{words.NUMBERS[count]} {category}", some_list(category, count, random)


def copying(random: Random) -> tuple[str, str]:
    text = f"{random.choice(words.COLORS)} {random.choice(words.THINGS)} and {random.choice(words.COLORS)} {random.choice(words.THINGS)}"
    return f"copy: {text}", f"{text}."


def polite(random: Random) -> tuple[str, str]:
    verb, thing = random.choice(("give me", "bring me", "show me", "hand me")), random.choice(words.THINGS)
    return f"politely: {verb} the {thing}", f"Please {verb} the {thing}."


def past(random: Random) -> tuple[str, str]:
    now, then = random.choice(tuple(VERBS.items()))
    name, thing = random.choice(NAMES), random.choice(words.THINGS)
    return f"yesterday: {name} {now} the {thing}.", f"{name} {then} the {thing}."


def recolor(random: Random) -> tuple[str, str]:
    old, new = random.sample(words.COLORS, 2)
    name, thing = random.choice(NAMES), random.choice(words.THINGS)
    return f"{new} for {old}: {name} has a {old} {thing}.", f"{name} has a {new} {thing}."


def feeling(random: Random) -> tuple[str, str]:
    mood = random.choice(("happy", "sad"))
    return f"happy or sad: {mood_sentence(mood, random)}", f"{mood.capitalize()}."


def mood_sentence(mood: str, random: Random, names: Sequence[str] = NAMES) -> str:
    """One sentence that is plainly happy or plainly sad."""
    name, thing = random.choice(names), random.choice(words.THINGS)
    if mood == "happy":
        return random.choice(
            (f"{name} found the {thing} and sang.", f"{name} was {random.choice(words.HAPPY[1:])} all day.", f"{name} won a {thing}.")
        )
    return random.choice(
        (f"{name} lost the {thing} and cried.", f"{name} was {random.choice(words.SAD[1:])} all day.", f"{name} broke the {thing}.")
    )


def sorting(random: Random) -> tuple[str, str]:
    category = random.choice(("animals", "foods", "colors", "jobs", "days"))
    return f"kind of {random.choice(words.CATEGORIES[category])}", f"{words.CATEGORY_SINGULAR[category].capitalize()}."


def extracting(random: Random) -> tuple[str, str]:
    colors, things = random.sample(words.COLORS, 2), random.sample(words.THINGS, 2)
    text = f"a {colors[0]} {things[0]} and a {colors[1]} {things[1]}"
    return (
        (f"colors in: {text}", f"{colors[0]}, {colors[1]}.")
        if random.random() < 0.5
        else (f"things in: {text}", f"{things[0]}, {things[1]}.")
    )


def summing_up(random: Random) -> tuple[str, str]:
    return lost_and_found(random.choice(NAMES), random.choice(words.THINGS), random, "short: ")


def lost_and_found(name: str, thing: str, random: Random, before: str) -> tuple[str, str]:
    """A passage of three sentences and the one that sums it up."""
    place, weather = random.choice(words.PLACES), random.choice(words.WEATHERS)
    if random.random() < 0.5:
        return (
            f"{before}{name} lost the {thing}. There was {weather}. {name} found it in the {place}.",
            f"{name} found the {thing} in the {place}.",
        )
    return (
        f"{before}{name} went to the {place}. There was {weather}. {name} bought a {thing} there.",
        f"{name} bought a {thing} in the {place}.",
    )


def adding(random: Random) -> tuple[str, str]:
    a, b = random.randrange(6), random.randrange(6)
    return (
        (f"{a} plus {b}", f"{a + b}.")
        if random.random() < 0.6
        else (f"{words.NUMBERS[a]} plus {words.NUMBERS[b]}", f"{(*words.NUMBERS,)[a + b]}.")
    )


def greeting(random: Random) -> tuple[str, str]:
    name = random.choice(NAMES)
    return f"hello from {name}", random.choice((f"Hello {name}, how nice to see you.", f"Good day {name}, welcome to the bay."))


def writing(random: Random) -> tuple[str, str]:
    first, second = random.sample(words.THINGS, 2)
    return f"a line with {first} and {second}", line_with(first, second, random)


def line_with(first: str, second: str, random: Random) -> str:
    """One sentence in which both words occur."""
    name = random.choice(NAMES)
    forms = (
        f"{name} left the {first} beside the {second}.",
        f"{name} has a {first} and a {second}.",
        f"In the {random.choice(words.PLACES)} lay a {first} and a {second}.",
    )
    return random.choice(forms)


DRILLS: Mapping[str, Drill] = {
    "listing": listing, "copying": copying, "polite": polite, "past": past, "recolor": recolor, "feeling": feeling, "sorting": sorting,
    "extracting": extracting, "summing_up": summing_up, "adding": adding, "greeting": greeting, "writing": writing,
}  # fmt: skip
