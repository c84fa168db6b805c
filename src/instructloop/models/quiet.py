"""Keeping transformers' own progress bars and remarks out of our output."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging as hf_logging


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no messages below an error inside; the user's settings are back afterwards."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def _worth_saying(record: logging.LogRecord) -> bool:
    return "since your input_ids may be padded" not in record.getMessage()


def allow_padding_without_mask() -> None:
    """Drop one remark: a right-padded batch under causal attention needs no mask, and without one attention is faster."""
    logger = logging.getLogger("transformers.modeling_utils")
    if _worth_saying not in logger.filters:
        logger.addFilter(_worth_saying)
