"""Names of people by a spaCy pipeline: a real pipeline with a small list of patterns stands for a trained one."""

from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError, MissingExtraError
from instructloop.feedback.prompts import find_pii, redact, spacy_names
from instructloop.feedback.prompts.pii_report import LabeledSpan, score


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that knows two people and a city."""
    spacy = pytest.importorskip("spacy", reason="names are optional: spaCy is not installed")
    made = spacy.blank("en")
    ruler = made.add_pipe("entity_ruler")
    ruler.add_patterns(
        [{"label": "PERSON", "pattern": "Ana Lopez"}, {"label": "PER", "pattern": "Bob"}, {"label": "GPE", "pattern": "Lima"}]
    )
    folder = tmp_path_factory.mktemp("pipeline")
    made.to_disk(folder)
    return folder


def test_names_are_found_beside_what_the_rules_find_and_cities_are_not(pipeline: Path) -> None:
    text = "Ana Lopez of Lima wrote to bob@acme.com and to Bob."
    spans = find_pii(text, further=(spacy_names(pipeline),))
    assert [(span.type, span.value) for span in spans] == [("name", "Ana Lopez"), ("email", "bob@acme.com"), ("name", "Bob")]
    assert redact(text, spans) == "[NAME] of Lima wrote to [EMAIL] and to [NAME]."


def test_names_are_scored_like_any_type(pipeline: Path) -> None:
    rows = [("Ana Lopez met Carla.", [LabeledSpan("name", 0, 9), LabeledSpan("name", 14, 19)])]
    by_type = {item.type: item for item in score(rows, names=spacy_names(pipeline))}
    assert (by_type["name"].looked_for, by_type["name"].recall, by_type["name"].precision) == (True, 0.5, 1.0)


def test_a_pipeline_that_is_missing_or_finds_nothing_is_refused(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy", reason="names are optional: spaCy is not installed")
    with pytest.raises(ConfigError, match="has no pipeline 'xx_none'"):
        spacy_names("xx_none")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(ConfigError, match="looks for no entities"):
        spacy_names(tmp_path / "blank")


def test_without_spacy_the_remedy_is_named() -> None:
    try:
        import spacy  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match="'spacy'"):
            spacy_names("en_core_web_sm")
    else:
        pytest.skip("spaCy is installed")
