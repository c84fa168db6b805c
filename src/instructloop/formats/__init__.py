"""Reading and writing of every file layout, with errors that name file, line and field. Torch-free."""

from instructloop.formats.alpaca_eval import read_alpaca_eval
from instructloop.formats.argilla import read_argilla
from instructloop.formats.foreign import ForeignRecord, Imported, Names, Placed
from instructloop.formats.hh import read_hh
from instructloop.formats.label_studio import read_label_studio
from instructloop.formats.loaded import Loaded, Skip, Where, concat
from instructloop.formats.oasst import read_oasst
from instructloop.formats.readers import Source, read_demonstrations, read_prompts, read_rankings, read_texts, read_unpaired
from instructloop.formats.rows import read_rows
from instructloop.formats.splits import split_by_prompt
from instructloop.formats.trl import trl_rows
from instructloop.formats.votes import read_comparisons, read_ratings
from instructloop.formats.writers import (
    to_row,
    write_comparisons,
    write_demonstrations,
    write_prompts,
    write_rankings,
    write_ratings,
    write_texts,
    write_unpaired,
)

__all__ = [
    "ForeignRecord",
    "Imported",
    "Loaded",
    "Names",
    "Placed",
    "Skip",
    "Source",
    "Where",
    "concat",
    "read_alpaca_eval",
    "read_argilla",
    "read_comparisons",
    "read_demonstrations",
    "read_hh",
    "read_label_studio",
    "read_oasst",
    "read_prompts",
    "read_rankings",
    "read_ratings",
    "read_rows",
    "read_texts",
    "read_unpaired",
    "split_by_prompt",
    "to_row",
    "trl_rows",
    "write_comparisons",
    "write_demonstrations",
    "write_prompts",
    "write_rankings",
    "write_ratings",
    "write_texts",
    "write_unpaired",
]
