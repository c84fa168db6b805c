"""The embedded default: a self-contained small world, its texts, its people and the measure of what is good in it."""
