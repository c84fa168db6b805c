"""The whole InstructGPT loop as one program."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_FACE = ("evaluate", "ppo", "reward_model", "sample", "sft")


def __getattr__(name: str) -> Any:
    """The Python face (``instructloop.sft`` ...: see ``instructloop.api``), loaded at its first use: the command line stays quick."""
    if name in _FACE:
        return getattr(import_module("instructloop.api"), name)
    raise AttributeError(f"module 'instructloop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
