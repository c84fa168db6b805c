"""Public test sets as the paper ran them (spec G4-G9): frames, zero- and few-shot prompts, one table for many checkpoints."""
