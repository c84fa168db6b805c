"""The small text regressor against scikit-learn, and its file."""

from pathlib import Path

import numpy as np
import pytest

from instructloop.core.errors import DataError
from instructloop.core.seeds import stream
from instructloop.scoring.linear_text import NgramSettings, Tfidf, ngrams, restore, ridge, store

SMALL = NgramSettings(shortest=2, longest=3, features=1000, min_documents=1)


def _texts(count: int) -> list[str]:
    draw = stream(0, "texts")
    words = ["river", "Bank", "a", "money,", "boat", "it's", "the", "flood", "loan", "I"]
    return [" ".join(draw.choice(words) for _ in range(draw.randrange(1, 9))) for _ in range(count)]


def test_ngrams_stay_within_words_and_short_words_count_once() -> None:
    assert list(ngrams("I am", SMALL)) == [" i", "i ", " i ", " a", "am", "m ", " am", "am "]
    assert list(ngrams("a", NgramSettings(shortest=4, longest=5))) == [" a "]
    assert list(ngrams("  ", SMALL)) == []


def test_rows_equal_scikit_learns_tfidf() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is the second implementation")
    texts = _texts(60)
    settings = NgramSettings(shortest=2, longest=5, features=10_000, min_documents=2)
    vectorizer = text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, sublinear_tf=True)
    theirs = vectorizer.fit_transform(texts).toarray()
    ours = Tfidf.fit(texts, settings)
    assert ours.vocabulary == list(vectorizer.get_feature_names_out())
    np.testing.assert_allclose(ours.matrix(texts).toarray(), theirs, atol=1e-12)


def test_weights_equal_the_normal_equations() -> None:
    texts = _texts(80)
    rows = Tfidf.fit(texts, SMALL).matrix(texts)
    targets = np.array([float(len(text)) for text in texts])
    weights, intercept = ridge(rows, targets, 0.7)
    dense = rows.toarray()
    centred = dense - dense.mean(axis=0)
    exact = np.linalg.solve(centred.T @ centred + 0.7 * np.eye(dense.shape[1]), centred.T @ (targets - targets.mean()))
    np.testing.assert_allclose(weights, exact, atol=1e-3)
    assert intercept == pytest.approx(targets.mean() - dense.mean(axis=0) @ exact, abs=1e-3)


def test_a_text_of_unknown_ngrams_is_a_row_of_zeros() -> None:
    features = Tfidf.fit(["one two", "one three"], SMALL)
    assert features.matrix(["", "%%%"]).toarray().sum() == 0


def test_the_most_frequent_ngrams_are_kept() -> None:
    features = Tfidf.fit(["aa aa aa", "bb"], NgramSettings(shortest=2, longest=2, features=1, min_documents=1))
    assert features.vocabulary == [" a"]


def test_a_file_gives_back_what_was_stored(tmp_path: Path) -> None:
    features = Tfidf.fit(["naïve ☃ text", "other text"], SMALL)
    path = store(tmp_path / "folder" / "judge", features, {"weights": np.arange(3.0)}, {"kind": "test", "rows": 2})
    again, arrays, description = restore(path, "test")
    assert path.name == "judge.npz"
    assert again.vocabulary == features.vocabulary
    assert again.settings == SMALL
    np.testing.assert_array_equal(again.idf, features.idf)
    np.testing.assert_array_equal(arrays["weights"], np.arange(3.0))
    assert description["rows"] == 2


def test_a_file_that_is_missing_damaged_or_of_another_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no judge"):
        restore(tmp_path / "none.npz", "test")
    (tmp_path / "bad.npz").write_bytes(b"PK not a zip")
    with pytest.raises(DataError, match="cannot be read"):
        restore(tmp_path / "bad.npz", "test")
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, description=np.array([{"kind": "test"}], dtype=object))
    with pytest.raises(DataError, match="cannot be read"):
        restore(pickled, "test")
    stored = store(tmp_path / "judge", Tfidf.fit(["a b", "a c"], SMALL), {}, {"kind": "test"})
    with pytest.raises(DataError, match="judge of 'test'"):
        restore(stored, "toxicity")


def test_texts_with_nothing_in_common_cannot_be_learned_from() -> None:
    with pytest.raises(DataError, match="no n-gram in common"):
        Tfidf.fit(["", " "])
