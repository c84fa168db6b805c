"""The package's log lines on a terminal."""

import logging

from rich.console import Console
from rich.logging import RichHandler


def show_progress() -> None:
    """Send the package's log lines to the terminal (standard error), one line each."""
    package = logging.getLogger("instructloop")
    if any(isinstance(handler, RichHandler) for handler in package.handlers):
        return
    package.addHandler(RichHandler(console=Console(stderr=True), show_path=False, show_level=False, log_time_format="[%X]", markup=False))
    package.setLevel(logging.INFO)
