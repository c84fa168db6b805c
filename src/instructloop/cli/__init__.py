"""The command line: a lazy table of verbs."""
