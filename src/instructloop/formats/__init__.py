"""Reading and writing of every file layout, with errors that name file, line and field. Torch-free."""

from instructloop.formats.loaded import Loaded, Skip, Where, concat
from instructloop.formats.readers import Source, read_demonstrations, read_prompts, read_rankings, read_texts, read_unpaired
from instructloop.formats.rows import read_rows
from instructloop.formats.splits import split_by_prompt
from instructloop.formats.writers import to_row, write_demonstrations, write_prompts, write_rankings, write_texts, write_unpaired

__all__ = [
    "Loaded",
    "Skip",
    "Source",
    "Where",
    "concat",
    "read_demonstrations",
    "read_prompts",
    "read_rankings",
    "read_rows",
    "read_texts",
    "read_unpaired",
    "split_by_prompt",
    "to_row",
    "write_demonstrations",
    "write_prompts",
    "write_rankings",
    "write_texts",
    "write_unpaired",
]
