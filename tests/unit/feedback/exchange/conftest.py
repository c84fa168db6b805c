"""Projects, empty and with answers of every kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from instructloop.testing.projects import Store, new_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty project."""
    made = new_store(tmp_path / "project")
    yield made
    made.db.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """A second empty project."""
    made = new_store(tmp_path / "other")
    yield made
    made.db.close()


@pytest.fixture
def answered(store: Store) -> Store:
    """See ``Store.answer_everything``."""
    store.answer_everything()
    return store
