"""Names of people, by a model: optional, since no rule finds them and every model misses some and invents others."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from instructloop.core.errors import ConfigError, MissingExtraError
from instructloop.feedback.prompts.pii import Finder, PiiSpan

_PEOPLE = frozenset({"PERSON", "PER"})
"""What pipelines of different languages call a person."""


def spacy_names(model: str | Path, *, labels: frozenset[str] = _PEOPLE) -> Finder:
    """A finder of names for ``find_pii(..., further=(finder,))``, from a spaCy pipeline with entities.

    Args:
        model: name of an installed pipeline (``en_core_web_sm``), or a folder.
        labels: entity labels that count as people.

    Raises:
        ConfigError: there is no such pipeline, or it finds no entities.
        MissingExtraError: spaCy is not installed.
    """
    try:
        spacy = importlib.import_module("spacy")
    except ImportError as error:
        raise MissingExtraError.for_extra("spacy", "names") from error
    try:
        pipeline = spacy.load(model)
    except OSError as error:
        raise ConfigError(f"spaCy has no pipeline {str(model)!r}", hint=f"python -m spacy download {model}, or name a folder") from error
    if not {"ner", "entity_ruler"} & set(pipeline.pipe_names):
        raise ConfigError(f"the pipeline {str(model)!r} looks for no entities", hint="take one with the component ner")

    def names(text: str) -> Iterator[PiiSpan]:
        for entity in pipeline(text).ents:
            if entity.label_ in labels:
                yield PiiSpan("name", entity.start_char, entity.end_char, entity.text, f"spacy {pipeline.meta['name']}")

    return names
