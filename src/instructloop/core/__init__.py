"""Ground floor: records, errors, seeds, hashing, atomic files, registry, protocols. Standard library only."""
