"""The ten use cases of prompts (spec A12) under all their names, and the flags of Table 7 (spec A15)."""

import difflib
import re
from types import MappingProxyType

from instructloop.core.errors import DataError
from instructloop.feedback.flags import PROMPT_FLAGS, USE_CASES

USE_CASE_LABELS = MappingProxyType(
    {
        "generation": "Generation",
        "open_qa": "Open QA",
        "brainstorming": "Brainstorming",
        "chat": "Chat",
        "rewriting": "Rewrite",
        "summarization": "Summarization",
        "classification": "Classification",
        "other": "Other",
        "closed_qa": "Closed QA",
        "extraction": "Extract",
    }
)
"""As the paper's Table 1 writes and orders them."""

_ALIASES = {
    "generation": ("generate", "creative_writing", "writing", "text_generation"),
    "open_qa": ("openqa", "general_qa", "question_answering", "qa"),
    "closed_qa": ("closedqa", "reading_comprehension", "context_qa"),
    "brainstorming": ("brainstorm", "ideas"),
    "chat": ("conversation", "dialogue", "dialog", "roleplay"),
    "rewriting": ("rewrite", "paraphrase", "paraphrasing", "edit", "editing", "translate", "translation"),  # translation: spec A13
    "summarization": ("summarize", "summarise", "summarisation", "summary", "tldr"),
    "classification": ("classify", "rating", "sentiment"),
    "extraction": ("extract", "information_extraction"),
    "other": ("misc", "none", "unknown"),
}
_NAMES = {alias: name for name in USE_CASES for alias in (name, *_ALIASES[name])}

TABLE_7 = MappingProxyType(
    {
        "ambiguous": "Ambiguous",
        "sensitive": "Sensitive content",
        "identity_dependent": "Identity dependent",
        "closed_domain": "Closed domain",
        "continuation_style": "Continuation style",
        "asks_opinion": "Requests opinion",
        "asks_advice": "Requests advice",
        "asks_moral_judgment": "Requests moral judgment",
        "safety_constraints": "Explicit safety constraints",
        "has_constraint": "Other explicit constraints",
        "intent_unclear": "Intent unclear",
    }
)
"""Rows of Table 7 by the key under which an answer is kept; where the form of spec B11 asks the same, the form's key."""
KNOWN_FLAGS = frozenset(TABLE_7) | {flag.key for flag in PROMPT_FLAGS}


def use_case(name: str) -> str:
    """The key of one of the ten use cases, e.g. ``Translate`` gives ``rewriting`` (spec A13).

    Raises:
        DataError: nothing is called so.
    """
    key = re.sub(r"[\s/-]+", "_", name.strip().lower())
    if key in _NAMES:
        return _NAMES[key]
    near = difflib.get_close_matches(key, _NAMES, n=1)
    meant = f"; did you mean {_NAMES[near[0]]!r}?" if near else ""
    raise DataError(f"unknown use case {name!r}{meant}", hint=f"the ten use cases: {', '.join(USE_CASES)}")
