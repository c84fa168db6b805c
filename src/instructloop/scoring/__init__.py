"""How a text is marked without a model: answers, translations, summaries, checkable instructions, variety, stock phrases (no torch)."""
