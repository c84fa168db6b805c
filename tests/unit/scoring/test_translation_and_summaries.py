"""BLEU and ROUGE-L: against the packages' own corpus functions, against hand computation, and their intervals."""

import math
import sys

import pytest

from instructloop.core.errors import DataError, MissingExtraError
from instructloop.core.seeds import stream
from instructloop.scoring import summaries
from instructloop.scoring.summaries import SIGNATURE, rouge_l
from instructloop.scoring.translation import bleu, bleu_interval

sacrebleu = pytest.importorskip("sacrebleu", reason="needs the extra 'evaluation'")
pytest.importorskip("rouge_score", reason="needs the extra 'evaluation'")

VOCABULARY = ["the", "a", "cat", "dog", "sat", "on", "mat", "ran", "to", "house", ",", ".", "it", "was", "big"]


def corpus(n: int, seed: int) -> tuple[list[str], list[str]]:
    random = stream(seed, "corpus")
    references = [" ".join(random.choice(VOCABULARY) for _ in range(random.randrange(5, 15))) for _ in range(n)]
    texts = [
        " ".join(word if random.random() < 0.8 else random.choice(VOCABULARY) for word in reference.split()) for reference in references
    ]
    return texts, references


def test_bleu_equals_sacrebleu_and_carries_its_signature() -> None:
    texts, references = corpus(40, 1)
    found = bleu(texts, references)
    assert found.value == pytest.approx(sacrebleu.corpus_bleu(texts, [references]).score, abs=1e-12)
    assert found.signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert len(found.per_item) == 40
    assert found.per_item[0] == pytest.approx(sacrebleu.sentence_bleu(texts[0], [references[0]]).score)


def test_bleu_of_one_sentence_by_hand() -> None:
    # text: a b c d e (5 words), reference: a b c d f g (6): precisions 4/5, 3/4, 2/3, 1/2, brevity exp(1 - 6/5)
    expected = 100 * math.exp(1 - 6 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu(["a b c d e"], ["a b c d f g"]).value == pytest.approx(expected)


def test_items_may_have_different_numbers_of_references() -> None:
    found = bleu(["a b c d e", "x y z w v"], [["q r s t u", "a b c d e"], "x y z w v"])
    assert found.value == pytest.approx(100)
    assert found.signature.startswith("nrefs:var|")


def test_the_interval_adds_up_counts_and_its_value_is_corpus_bleu() -> None:
    texts, references = corpus(60, 2)
    found = bleu_interval(texts, references, samples=400)
    assert found.value == pytest.approx(bleu(texts, references).value, abs=1e-9)
    assert found.low < found.value < found.high
    assert (found.n, found.clusters) == (60, 60)


def test_sentences_of_one_document_are_resampled_together() -> None:
    texts, references = corpus(20, 3)
    tripled = bleu_interval(texts * 3, references * 3, clusters=[*range(20)] * 3, samples=400)
    alone = bleu_interval(texts, references, samples=400)
    assert tripled.value == pytest.approx(alone.value)
    assert (tripled.low, tripled.high) == pytest.approx((alone.low, alone.high))  # copies of a document say nothing new
    assert (tripled.n, tripled.clusters) == (60, 20)


def test_translations_without_a_reference_are_refused() -> None:
    with pytest.raises(DataError, match="no reference"):
        bleu(["a"], [[]])
    with pytest.raises(DataError, match="0 references for 1 texts"):
        bleu(["a"], [])
    with pytest.raises(DataError):
        bleu([], [])


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence_of_stems() -> None:
    # stems: the cat sat on mat (5) | a cat sit on the mat (6); longest common subsequence: cat on mat (3)
    assert rouge_l("the cat sat on mats", "a cat sits on the mat") == pytest.approx(2 * 3 / (5 + 6))
    assert rouge_l("cats", "cat") == 1.0
    assert rouge_l("", "cat") == 0.0
    assert rouge_l("cats", ["dog", "cat"]) == 1.0
    assert "rouge-score:0" in SIGNATURE
    assert "stemmer:porter" in SIGNATURE
    with pytest.raises(DataError, match="no reference"):
        rouge_l("cat", [])


@pytest.mark.parametrize("module", ["sacrebleu.metrics.bleu", "rouge_score.rouge_scorer"])
def test_a_scorer_that_is_not_installed_is_named_with_the_command_that_brings_it(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python itself writes for a module that must not be imported
    summaries._scorer.cache_clear()
    with pytest.raises(MissingExtraError, match=module.partition(".")[0].replace("_", "-")) as caught:
        bleu(["a"], ["a"]) if "bleu" in module else rouge_l("a", "a")
    assert caught.value.hint == "pip install 'instructloop[evaluation]'"
