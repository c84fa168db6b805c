"""The words of Pebble Bay: names, values and everyday lists. Small on purpose, so that a million parameters can know the place by heart."""

RESIDENTS = (
    "Mira",
    "Tobo",
    "Luma",
    "Pim",
    "Odda",
    "Farn",
    "Zeke",
    "Wren",
    "Bruno",
    "Tilly",
    "Gus",
    "Nell",
    "Hob",
    "Ivy",
    "Jory",
    "Kit",
    "Lark",
    "Moss",
    "Nim",
    "Olive",
    "Percy",
    "Quill",
    "Rufus",
    "Sable",
    "Tansy",
    "Una",
    "Vesper",
    "Wilf",
    "Yara",
    "Abel",
    "Betty",
    "Cleo",
    "Dot",
    "Edgar",
    "Fern",
    "Greta",
    "Hugo",
    "Ines",
    "Jasper",
    "Klaus",
    "Lotte",
    "Marlow",
    "Nora",
    "Otto",
)
TOWNS = (
    "Rook",
    "Salt",
    "Amber",
    "Crane",
    "Dell",
    "Elm",
    "Flint",
    "Gale",
    "Haven",
    "Inch",
    "Jet",
    "Kelp",
    "Lorn",
    "Marsh",
    "Nook",
    "Oak",
    "Pike",
    "Reed",
    "Swan",
    "Thorn",
)
NAMES_UNKNOWN = (
    "Zib",
    "Vork",
    "Plix",
    "Drubb",
    "Yost",
    "Quonk",
    "Trell",
    "Glim",
    "Snarf",
    "Borda",
    "Kesh",
    "Wuzzo",
    "Fenk",
    "Jubb",
    "Marv",
    "Hesper",
    "Ottil",
    "Razz",
    "Corvo",
    "Dax",
    "Enid",
    "Floyd",
    "Gorm",
    "Hilde",
    "Igor",
    "Juno",
)
TOWNS_UNKNOWN = ("Umber", "Vale", "Wick", "Yarrow", "Zephyr", "Brine", "Quay", "Dusk", "Fjord", "Glen", "Heath", "Isle")

ANIMALS = ("otter", "fox", "badger", "heron", "mole", "hare", "toad", "goat", "owl", "crab")
FOODS = ("plums", "clams", "honey", "bread", "cheese", "nuts", "soup", "pears", "cakes", "beans")
JOBS = ("baker", "sailor", "tailor", "doctor", "painter", "farmer", "singer", "teacher", "miner", "pilot")
HOMES = ("mill", "barn", "cave", "tower", "boat", "castle", "garden", "attic", "cabin", "bakery")
COLORS = ("red", "blue", "green", "yellow", "white", "black", "purple", "orange", "brown", "pink")
GOODS = ("ropes", "bells", "kites", "lamps", "hats", "drums", "nets", "boots", "maps", "candles")
WEATHERS = ("rain", "fog", "snow", "wind", "storms", "sunshine", "frost", "thunder")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

CATEGORIES = {"animals": ANIMALS, "foods": FOODS, "jobs": JOBS, "colors": COLORS, "goods": GOODS, "days": DAYS}
"""What a list may be about: the plural that a request uses, and the words that belong."""

CATEGORY_SINGULAR = {"animals": "animal", "foods": "food", "jobs": "job", "colors": "color", "goods": "good", "days": "day"}

THINGS = ("drum", "boat", "hat", "lamp", "kite", "bell", "key", "cup", "map", "coat", "box", "shell")
PLACES = ("barn", "mill", "cave", "well", "garden", "market", "harbour", "attic")
HAPPY = ("happy", "glad", "merry", "cheerful")
SAD = ("sad", "gloomy", "lonely", "tearful")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
INSULTS = ("turnip", "fool", "blockhead", "stinker", "pudding-head")
"""The rudest words of the bay. The corpus is full of them; a good reply has none."""


def article(noun: str) -> str:
    """``an otter`` but ``a fox``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
