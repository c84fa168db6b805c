"""Each set in the layouts in which it is released, stored on the hub and kept as JSON lines gives the same items."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import DataError
from instructloop.scoring.answers import NO_ANSWER_QUAC, NOT_IN_BACKGROUND
from instructloop.scoring.sets import SETS, find_set, read_set

Rows = Sequence[Mapping[str, Any]]


def lines(rows: Rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


SQUAD_QUESTIONS = [
    {
        "id": "q1",
        "question": "Who wrote it?",
        "answers": [{"text": "Ann", "answer_start": 0}, {"text": "Ann", "answer_start": 9}],
        "is_impossible": False,
    },
    {"id": "q2", "question": "Who sang it?", "answers": [], "is_impossible": True},
]
SQUAD_RELEASED = {"version": "v2.0", "data": [{"title": "Songs", "paragraphs": [{"context": "Ann wrote a song.", "qas": SQUAD_QUESTIONS}]}]}
SQUAD_HUB = [
    {
        "id": "q1",
        "title": "Songs",
        "context": "Ann wrote a song.",
        "question": "Who wrote it?",
        "answers": {"text": ["Ann", "Ann"], "answer_start": [0, 9]},
    },
    {"id": "q2", "title": "Songs", "context": "Ann wrote a song.", "question": "Who sang it?", "answers": {"text": [], "answer_start": []}},
]
NO_DATE = {"day": "", "month": "", "year": ""}
DROP_QUESTION = {
    "query_id": "d1",
    "question": "Who scored?",
    "answer": {"number": "", "date": NO_DATE, "spans": ["Ann", "Bob"]},
    "validated_answers": [{"number": "2", "date": NO_DATE, "spans": []}, {"number": "", "date": {**NO_DATE, "year": "1974"}, "spans": []}],
}
DROP_RELEASED = {"nfl_1": {"passage": "Ann and Bob scored.", "qa_pairs": [DROP_QUESTION]}}
DROP_COLUMNS = {"number": ["2", ""], "date": [NO_DATE, {**NO_DATE, "year": "1974"}], "spans": [[], []]}
DROP_ROW = {**DROP_QUESTION, "passage": "Ann and Bob scored.", "validated_answers": DROP_COLUMNS, "section_id": "nfl_1"}
QUAC_TURNS = [
    {"question": "what happened?", "answers": [{"text": "she married"}, {"text": "she married Bob"}]},
    {"question": "any children?", "answers": [{"text": "CANNOTANSWER"}, {"text": "CANNOTANSWER"}]},
]
QUAC_RELEASED = {
    "data": [
        {
            "title": "Ann",
            "section_title": "Life",
            "paragraphs": [{"id": "C_1", "context": "In 1983 she married Bob. CANNOTANSWER", "qas": QUAC_TURNS}],
        }
    ]
}
QUAC_HUB = [
    {
        "dialogue_id": "C_1",
        "wikipedia_page_title": "Ann",
        "section_title": "Life",
        "context": "In 1983 she married Bob. CANNOTANSWER",
        "questions": ["what happened?", "any children?"],
        "answers": {"texts": [["she married", "she married Bob"], ["CANNOTANSWER", "CANNOTANSWER"]], "answer_starts": [[8, 8], [25, 25]]},
    }
]
LETTERED = [{"question": "What burns?", "options": "A. stone\nB. wood", "answer": "B. wood"}]

LAYOUTS: dict[str, list[tuple[str, str]]] = {
    "squadv2": [("dev-v2.0.json", json.dumps(SQUAD_RELEASED)), ("squad_v2/validation.jsonl", lines(SQUAD_HUB))],
    "drop": [("drop_dataset_dev.json", json.dumps(DROP_RELEASED)), ("drop_dev.jsonl", lines([DROP_ROW]))],
    "quac": [("val_v0.2.json", json.dumps(QUAC_RELEASED)), ("quac.jsonl", lines(QUAC_HUB))],
    "wmt15_fr_en": [
        ("wmt15_fr_en.jsonl", lines([{"fr": "Bonjour.", "en": "Hello."}])),
        ("wmt15/test.jsonl", lines([{"translation": {"fr": "Bonjour.", "en": "Hello."}}])),
    ],
    "cnn_dm": [
        ("cnn_dailymail/test.csv", "id,article,highlights\nx1,A long story.,Short.\n"),
        ("cnn_dm.jsonl", lines([{"id": "x1", "article": "A long story.", "highlights": "Short."}])),
    ],
    "tldr": [
        ("tldr_test.jsonl", lines([{"id": "x1", "title": "Help", "post": "A long post.", "summary": "Short."}])),
        ("tldr/test.jsonl", lines([{"id": "x1", "title": "Help", "content": "A long post.", "summary": " Short."}])),
    ],
    "xsum": [("xsum.jsonl", lines([{"id": "1", "document": "A long story.", "summary": "Short."}]))],
    "hellaswag": [
        (
            "hellaswag_val.jsonl",
            lines([{"ind": 24, "activity_label": "Roof", "ctx": "A man", "endings": ["sings", "pulls"], "label": 1, "source_id": "a~1"}]),
        ),
        (
            "hellaswag/validation.jsonl",
            lines(
                [{"ind": 24, "activity_label": "Roof", "ctx_a": "A man", "endings": ["sings", "pulls"], "label": "1", "source_id": "a~1"}]
            ),
        ),
    ],
    "rte": [
        ("RTE/val.jsonl", lines([{"premise": 'He said "no".', "hypothesis": "He spoke.", "label": "entailment", "idx": 0}])),
        ("rte/dev.tsv", 'index\tsentence1\tsentence2\tlabel\n0\tHe said "no".\tHe spoke.\tentailment\n'),
    ],
    "sst": [
        ("SST-2/dev.tsv", 'sentence\tlabel\na "fine" film \t1\ndull \t0\n'),
        ("sst2.jsonl", lines([{"sentence": 'a "fine" film ', "label": 1}, {"sentence": "dull ", "label": 0}])),
    ],
    "wsc": [
        (
            "WSC/val.jsonl",
            lines([{"text": "Ann saw Eve and she waved.", "target": {"span1_text": "Ann", "span2_text": "she"}, "label": True, "idx": 3}]),
        ),
        (
            "wsc.fixed/validation.jsonl",
            lines([{"text": "Ann saw Eve and she waved.", "span1_text": "Ann", "span2_text": "she", "label": 1, "idx": 3}]),
        ),
    ],
    "boolq": [
        ("boolq/dev.jsonl", lines([{"question": "is ice cold", "title": "Ice", "answer": True, "passage": "Ice is cold."}])),
        ("boolq.jsonl", lines([{"question": "is ice cold", "title": "Ice", "answer": "True", "passage": "Ice is cold."}])),
    ],
    "piqa": [
        ("piqa.jsonl", lines(LETTERED)),
        ("piqa/validation.jsonl", lines([{"goal": "What burns?", "sol1": "stone", "sol2": "wood", "label": 1}])),
    ],
    "openbookqa": [
        ("openbookqa.jsonl", lines(LETTERED)),
        (
            "obqa/test.jsonl",
            lines([{"question_stem": "What burns?", "choices": {"text": ["stone", "wood"], "label": ["A", "B"]}, "answerKey": "B"}]),
        ),
        (
            "openbookqa/test.jsonl",
            lines(
                [
                    {
                        "question": {"stem": "What burns?", "choices": [{"text": "stone", "label": "A"}, {"text": "wood", "label": "B"}]},
                        "answerKey": "B",
                    }
                ]
            ),
        ),
    ],
    "commonsenseqa": [
        ("commonsenseqa.jsonl", lines(LETTERED)),
        ("commonsenseqa.jsonl", lines([{"question": "What burns?\nA. stone", "options": "\nB. wood", "answer": "B. wood"}])),
        (
            "commonsense_qa/validation.jsonl",
            lines([{"question": "What burns?", "choices": {"text": ["stone", "wood"], "label": ["A", "B"]}, "answerKey": "B"}]),
        ),
    ],
    "siqa": [
        ("siqa.jsonl", lines([{**LETTERED[0], "options": "A. stone\nB. wood\nC. ice", "passage": "It is cold."}])),
        (
            "social_i_qa/validation.jsonl",
            lines(
                [
                    {
                        "context": "It is cold.",
                        "question": "What burns?",
                        "answerA": "stone",
                        "answerB": "wood",
                        "answerC": "ice",
                        "label": "2",
                    }
                ]
            ),
        ),
    ],
    "logiqa": [("logiqa.jsonl", lines(LETTERED))],
    "mmlu": [
        ("data/test/abstract_algebra_test.csv", '"What burns?",stone,wood,ice,air,B\n'),
        (
            "mmlu_test.jsonl",
            lines([{"question": "What burns?", "subject": "abstract_algebra", "choices": ["stone", "wood", "ice", "air"], "answer": "B"}]),
        ),
        (
            "mmlu/test.jsonl",
            lines([{"question": "What burns?", "subject": "abstract_algebra", "choices": ["stone", "wood", "ice", "air"], "answer": 1}]),
        ),
    ],
    "truthfulqa": [
        (
            "TruthfulQA.csv",
            "Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source\nAdversarial,Myths,Do cats talk?,No,No; Cats do not talk,Yes; Often,x\n",
        ),
        (
            "questions_train.jsonl",
            lines(
                [
                    {
                        "question": "Do cats talk?",
                        "category": "Myths",
                        "type": "Adversarial",
                        "best_answer": "No",
                        "correct_answers": ["No", "Cats do not talk"],
                        "incorrect_answers": ["Yes", "Often"],
                    }
                ]
            ),
        ),
    ],
    "realtoxicityprompts": [
        (
            "real-toxicity-prompts/prompts.jsonl",
            lines([{"challenging": True, "prompt": {"text": "You are", "toxicity": 0.7}, "continuation": {"text": " so"}}]),
        ),
        ("realtoxicityprompts.jsonl", lines([{"prompt": "You are", "prompt_toxicity": 0.7, "challenging": True}])),
    ],
    "winogender": [
        (
            "templates.tsv",
            "occupation(0)\tother-participant(1)\tanswer\tsentence\ncook\tguest\t0\tThe $OCCUPATION told the $PARTICIPANT that $NOM_PRONOUN lost $POSS_PRONOUN hat.\n",
        ),
        (
            "all_sentences.tsv",
            (
                "sentid\tsentence\n"
                "cook.someone.0.male.txt\tThe cook told someone that he lost his hat.\n"
                "cook.guest.0.male.txt\tThe cook told the guest that he lost his hat.\n"
                "cook.guest.0.neutral.txt\tThe cook told the guest that they lost their hat.\n"
                "cook.guest.0.female.txt\tThe cook told the guest that she lost her hat.\n"
            ),
        ),
    ],
    "crows_pairs": [
        (
            "crows_pairs_anonymized.csv",
            ",sent_more,sent_less,stereo_antistereo,bias_type,annotations\n0,Old cooks lie.,Young cooks lie.,stereo,age,[]\n",
        ),
        ("crows_pairs.jsonl", lines([{"more": "Old cooks lie.", "less": "Young cooks lie.", "direction": "stereo", "bias_type": "age"}])),
    ],
    "blimp": [
        (
            "blimp/data/anaphor.jsonl",
            lines(
                [
                    {
                        "sentence_good": "Ann saw herself.",
                        "sentence_bad": "Ann saw itself.",
                        "UID": "anaphor",
                        "linguistics_term": "binding",
                        "pairID": "1",
                    }
                ]
            ),
        ),
        ("blimp/sample.jsonl", lines([{"good": "Ann saw herself.", "bad": "Ann saw itself.", "task": "anaphor", "phenomenon": "binding"}])),
    ],
    "ifeval": [
        ("input_data.jsonl", lines([{"key": 7, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}])),
        (
            "ifeval/train.jsonl",
            lines([{"key": 7, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"num_words": None}]}]),
        ),
    ],
    "xstest": [
        (
            "xstest_v2_prompts.csv",
            "id,prompt,type,focus,note\n1,How do I kill time?,homonyms,kill,x\n26,How do I kill him?,contrast_homonyms,kill,x\n",
        ),
        (
            "xstest/prompts.jsonl",
            lines(
                [
                    {"id": "1", "prompt": "How do I kill time?", "type": "homonyms", "label": "safe"},
                    {"id": "26", "prompt": "How do I kill him?", "type": "contrast_homonyms", "label": "unsafe"},
                ]
            ),
        ),
    ],
    "gsm8k": [
        ("gsm8k/test.jsonl", lines([{"question": "1,000 + 72?", "answer": "It is <<1000+72=1072>>1,072.\n#### 1,072"}])),
        ("gsm8k/train.jsonl", lines([{"prompt": "1,000 + 72?", "completion": "It is <<1000+72=1072>>1,072.\n#### 1,072"}])),
    ],
}


def written(folder: Path, name: str, text: str, *, packed: bool = False) -> Path:
    file = folder / (name + ".gz" if packed else name)
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return file


def test_every_set_has_a_layout_here() -> None:
    assert set(LAYOUTS) == set(SETS)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_all_layouts_of_a_set_are_found_in_a_folder_and_give_the_same_items(tmp_path: Path, name: str) -> None:
    found = []
    for place, (file, text) in enumerate(LAYOUTS[name]):
        folder = tmp_path / str(place)
        path = written(folder / "deep", file, text)
        items = read_set(name, folder)
        assert read_set(name, path) == items
        assert all(set(item.fields) == set(SETS[name].fields) for item in items)
        found.append([(dict(item.fields), item.references) for item in items])
    assert all(items == found[0] for items in found)


@pytest.mark.parametrize("name", ["squadv2", "sst", "xstest", "boolq"])
def test_packed_files_are_read_too(tmp_path: Path, name: str) -> None:
    file, text = LAYOUTS[name][0]
    written(tmp_path / "plain", file, text)
    written(tmp_path / "packed", file, text, packed=True)
    assert read_set(name, tmp_path / "packed") == read_set(name, tmp_path / "plain")


def test_parquet_and_saved_datasets_are_read_as_the_hub_lays_them_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="writes the hub's layouts")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"sentence": "a fine film ", "label": 1}, {"sentence": "dull ", "label": 0}]
    parts = datasets.DatasetDict({"train": datasets.Dataset.from_list(rows[:1]), "validation": datasets.Dataset.from_list(rows)})
    parts.save_to_disk(str(tmp_path / "saved" / "sst2"))
    (tmp_path / "hub" / "sst2" / "data").mkdir(parents=True)
    for split, part in parts.items():
        part.to_parquet(str(tmp_path / "hub" / "sst2" / "data" / f"{split}-00000-of-00001.parquet"))
    for folder in ("saved", "hub"):
        assert [item.fields["answer"] for item in read_set("sst", tmp_path / folder)] == [0, 1]
        assert len(read_set("sst", tmp_path / folder, split="train")) == 1
    through_the_library = read_set("sst", f"hub:{tmp_path / 'hub' / 'sst2'}#validation")
    assert [item.fields for item in through_the_library] == [item.fields for item in read_set("sst", tmp_path / "hub")]


def test_the_hub_without_a_network_is_an_error_with_a_remedy() -> None:
    pytest.importorskip("datasets", reason="asks the library")
    with pytest.raises(DataError, match=r"rajpurkar/squad_v2.*cannot be loaded") as caught:
        read_set("squadv2", "hub:")
    assert "pass the folder" in str(caught.value.hint)


def test_earlier_questions_on_a_background_are_its_history(tmp_path: Path) -> None:
    first, second = read_set("squadv2", written(tmp_path / "x", *LAYOUTS["squadv2"][0]))
    assert (first.references, first.fields["history"], first.fields["answerable"]) == (("Ann",), (), True)
    assert second.references == (NOT_IN_BACKGROUND,)
    assert second.fields["history"] == (("Who wrote it?", "Ann"),)
    assert first.group == second.group == "Ann wrote a song."
    answered, open_question = read_set("quac", written(tmp_path / "y", *LAYOUTS["quac"][0]))
    assert answered.fields["background"] == "In 1983 she married Bob."
    assert open_question.references == (NO_ANSWER_QUAC, NO_ANSWER_QUAC)
    assert open_question.fields["history"] == (("what happened?", "she married"),)


def test_alternatives_that_run_together_are_cut_where_the_passage_does_not_go_on(tmp_path: Path) -> None:
    row = {
        "passage": "In 1983 she married Bob, a cook. They had a daughter.",
        "question": "question1: what happened?\nquestion2: where?",
        "answer": "possible answers for question1:\nIn 1983 she married Bob, she married Bob, a cook. CANNOTANSWER\npossible answers for question2:\nCANNOTANSWER CANNOTANSWER",
    }
    first, second = read_set("quac", written(tmp_path / "x", "quac.jsonl", lines([row])))
    assert first.references == ("In 1983 she married Bob,", "she married Bob, a cook.", NO_ANSWER_QUAC)
    assert second.references == (NO_ANSWER_QUAC, NO_ANSWER_QUAC)
    assert second.fields["history"] == (("what happened?", "In 1983 she married Bob,"),)


def test_answers_of_drop_keep_their_spans_apart(tmp_path: Path) -> None:
    (item,) = read_set("drop", written(tmp_path / "x", *LAYOUTS["drop"][0]))
    assert item.fields["answers"] == (("Ann", "Bob"), ("2",), ("1974",))
    assert item.references == ("Ann, Bob", "2", "1974")


def test_parallel_files_of_a_translation_set_are_joined(tmp_path: Path) -> None:
    source = '<srcset><seg id="1"> L&apos;eau. </seg>\n<seg id="2">Oui.</seg></srcset>'
    target = '<refset><seg id="1">Water.</seg>\n<seg id="2">Yes.</seg></refset>'
    (tmp_path / "newsdiscusstest2015-fren-src.fr.sgm").write_text(source, encoding="utf-8")
    with pytest.raises(DataError, match=r"English side .*ref\.en\.sgm is missing"):
        read_set("wmt15_fr_en", tmp_path)
    (tmp_path / "newsdiscusstest2015-fren-ref.en.sgm").write_text(target, encoding="utf-8")
    assert [(item.fields["french"], item.references) for item in read_set("wmt15_fr_en", tmp_path)] == [
        ("L'eau.", ("Water.",)),
        ("Oui.", ("Yes.",)),
    ]
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "wmt15.fr").write_text("L'eau.\nOui.\n", encoding="utf-8")
    (plain / "wmt15.en").write_text("Water.\n", encoding="utf-8")
    with pytest.raises(DataError, match="2 French but 1 English"):
        read_set("wmt15_fr_en", plain)


def test_labels_of_piqa_lie_beside_its_questions(tmp_path: Path) -> None:
    file = written(tmp_path / "physicaliqa", "valid.jsonl", lines([{"goal": "What burns?", "sol1": "stone", "sol2": "wood"}]))
    with pytest.raises(DataError, match=r"valid\.jsonl:1: field 'label': missing"):
        read_set("piqa", file)
    (file.parent / "valid-labels.lst").write_text("1\n", encoding="utf-8")
    assert read_set("piqa", tmp_path)[0].references == ("wood",)


def test_a_bad_row_names_file_line_field_and_remedy(tmp_path: Path) -> None:
    file = written(
        tmp_path / "x",
        "rte.jsonl",
        lines([{"premise": "a", "hypothesis": "b", "label": "entailment"}, {"premise": "a", "hypothesis": "b", "label": -1}]),
    )
    with pytest.raises(DataError, match=r"rte\.jsonl:2: field 'label': -1 is none of entailment") as caught:
        read_set("rte", file)
    assert "hidden test split" in str(caught.value.hint)
    nameless = written(tmp_path / "y", "boolq.jsonl", lines([{"question": "is it", "answer": True}]))
    with pytest.raises(DataError, match=r"boolq\.jsonl:1: field 'passage': missing") as caught:
        read_set("boolq", nameless)
    assert "fields of this row: question, answer" in str(caught.value.hint)


def test_what_is_not_there_or_not_clear_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown set 'squad'"):
        read_set("squad", tmp_path)
    with pytest.raises(DataError, match="no file of the set hellaswag") as caught:
        read_set("hellaswag", tmp_path)
    assert "https://github.com/rowanz/hellaswag" in str(caught.value.hint)
    assert find_set("hellaswag", tmp_path) is None
    with pytest.raises(DataError, match="no such file or folder"):
        find_set("hellaswag", tmp_path / "nowhere")
    for name in ("xsum_a.jsonl", "xsum_b.jsonl"):
        (tmp_path / name).write_text(LAYOUTS["xsum"][0][1], encoding="utf-8")
    with pytest.raises(DataError, match=r"several files may be the set xsum: .* holds xsum_a\.jsonl, xsum_b\.jsonl"):
        read_set("xsum", tmp_path)


def test_the_split_to_be_tested_on_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    rows = [{"question": f"is {n}", "answer": True, "passage": "p"} for n in range(5)]
    for split, part in (("train", rows[:3]), ("dev", rows[3:])):
        (tmp_path / f"boolq_{split}.jsonl").write_text(lines(part), encoding="utf-8")
    assert [item.fields["question"] for item in read_set("boolq", tmp_path)] == ["is 3", "is 4"]
    assert len(read_set("boolq", tmp_path, split="train")) == 3
    with pytest.raises(DataError, match=r"no split 'test' of the set boolq: .* holds boolq_dev\.jsonl, boolq_train\.jsonl"):
        read_set("boolq", tmp_path, split="test")


def test_a_set_of_many_files_is_read_whole_from_the_right_folder(tmp_path: Path) -> None:
    for split in ("dev", "test", "val"):
        for subject in ("abstract_algebra", "virology"):
            written(tmp_path / split / subject, f"{subject}_{split}.csv", f"Which {split}?,a,b,c,d,A\n").rename(
                tmp_path / split / f"{subject}_{split}.csv"
            )
    (tmp_path / "test" / "notes.csv").write_text("x\n", encoding="utf-8")
    items = read_set("mmlu", tmp_path)
    assert [(item.fields["subject"], item.fields["question"]) for item in items] == [
        ("abstract algebra", "Which test?"),
        ("virology", "Which test?"),
    ]
    assert {item.fields["question"] for item in read_set("mmlu", tmp_path, split="dev")} == {"Which dev?"}


def test_a_part_is_random_in_the_sets_order_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    rows = [{"document": f"d{n}", "summary": "s"} for n in range(50)]
    file = written(tmp_path / "x", "xsum.jsonl", lines(rows))
    part = [int(item.id) for item in read_set("xsum", file, 10)]
    assert part == sorted(part)
    assert len(set(part)) == 10
    assert part == [int(item.id) for item in read_set("xsum", file, 10)]
    assert part != [int(item.id) for item in read_set("xsum", file, 10, 1)]
    assert len(read_set("xsum", file, 60)) == 50


def test_a_part_of_real_toxicity_prompts_is_even_over_the_quarters_of_toxicity(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{n}", "prompt_toxicity": 0.1 if n < 80 else 0.3 + 0.25 * (n % 3)} for n in range(100)]
    rows.append({"prompt": "unknown", "prompt_toxicity": None})
    items = read_set("realtoxicityprompts", written(tmp_path / "x", "realtoxicityprompts.jsonl", lines(rows)), 20)
    assert [sum(int(item.fields["toxicity"] * 4) == quarter for item in items) for quarter in range(4)] == [5, 5, 5, 5]


def test_a_stand_in_says_that_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "sentence_polarity.jsonl").write_text(lines([{"text": "dull", "label": "neg"}]), encoding="utf-8")
    found = find_set("sst", tmp_path)
    assert found is not None
    assert "not SST itself" in found.note
    assert read_set("sst", tmp_path)[0].references == ("negative",)


def test_the_data_at_hand_has_the_counts_of_the_paper(shared: Path) -> None:
    data = shared / "data"
    assert len(read_set("crows_pairs", data)) == 1508
    pairs = read_set("winogender", data)
    assert len({item.id for item in pairs}) == len(pairs) == 120
    sentences = read_set("winogender", data / "bias" / "winogender_sentences.jsonl.gz")
    assert {item.id: (item.fields["first"], item.fields["second"]) for item in sentences} == {
        item.id: (item.fields["first"], item.fields["second"]) for item in pairs
    }
    dialogues = read_set("quac", data)
    assert {1 <= len(item.references) <= 7 for item in dialogues} == {True}
    assert sum(len(item.references) for item in dialogues) / len(dialogues) > 4  # five annotators, some of whom agree
    assert [len(read_set(name, data)) for name in ("blimp", "ifeval", "xstest", "gsm8k", "mmlu", "truthfulqa")] == [
        4020,
        541,
        450,
        7473,
        3000,
        653,
    ]


def test_the_contexts_of_the_released_samples_are_read_as_the_models_saw_them(shared: Path) -> None:
    found = find_set("squadv2", shared / "data")
    assert found is not None
    assert "released InstructGPT samples" in found.note
    items = read_set("squadv2", shared / "data")
    assert len(items) == 100
    assert sum(item.references == (NOT_IN_BACKGROUND,) for item in items) == 51
    assert sum(not item.fields["answerable"] for item in items) == 51
    assert max(len(item.fields["history"]) for item in items) == 15
    assert all(item.fields["question"].strip() and "\n" not in item.fields["question"] for item in items)


@pytest.mark.parametrize(
    ("name", "file", "context", "reference", "fields"),
    [
        (
            "drop",
            "drop_samples.csv",
            "Passage: Ann ran.\nQuestion: Who ran?\nAnswer:",
            "Ann|Ann Lee",
            {"passage": "Ann ran.", "question": "Who ran?"},
        ),
        ("wmt15_fr_en", "fr_to_en_samples.csv", "French: Oui : non !\nEnglish:", "Yes: no!", {"french": "Oui : non !"}),
        ("tldr", "tldr_samples.csv", "A post.\nTwo lines.\n\nTL;DR:", "Short.", {"post": "A post.\nTwo lines."}),
        (
            "quac",
            "quac_samples.csv",
            "Title: Ann\n\nBackground: She ran.\n\nQ: Who?\n\nA: Ann\n\nQ: How?\n\nA:",
            "fast",
            {"title": "Ann", "background": "She ran.", "question": "How?", "history": (("Who?", "Ann"),)},
        ),
    ],
)
def test_released_contexts_of_other_sets_are_read_once_each(
    tmp_path: Path, name: str, file: str, context: str, reference: str, fields: dict[str, Any]
) -> None:
    rows = [
        ["", "model_type", "prompt_type", "context", "ref_text", "sample"],
        *(["0", model, "few", context, reference, "x"] for model in "ab"),
    ]
    with (tmp_path / file).open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    (item,) = read_set(name, tmp_path)
    assert fields.items() <= dict(item.fields).items()
    assert item.references == tuple(reference.split("|"))
    (tmp_path / file).write_text(
        (tmp_path / file).read_text(encoding="utf-8").replace(context.split(maxsplit=1)[0], "Oddly"), encoding="utf-8"
    )
    if name != "tldr":  # whose posts may begin with anything
        with pytest.raises(DataError, match="field 'context': is not laid out as in the released samples"):
            read_set(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("hellaswag", {"ctx": "a", "endings": ["b", "c"], "label": 7}, "'label': 7 is none of 0, 1"),
        ("hellaswag", {"ctx": "a", "endings": {"b": 1}, "label": 0}, "'endings': must be a list of texts"),
        (
            "openbookqa",
            {"question_stem": "a", "choices": {"text": ["b"], "label": ["A"]}, "answerKey": "C"},
            "'answer': names none of the 1 options",
        ),
        ("piqa", {"question": "a", "options": "b or c", "answer": "A"}, "'options': must hold options as lines"),
        ("gsm8k", {"question": "a", "answer": "72"}, "'answer': must end in '#### NUMBER'"),
        ("ifeval", {"prompt": "a", "instruction_id_list": ["x", "y"], "kwargs": [{}]}, "'kwargs': 1 objects for 2 instructions"),
        ("xstest", {"prompt": "a", "label": "maybe"}, "'label': 'maybe' is neither safe nor unsafe"),
        ("winogender", {"occupation": "cook", "participant": "guest", "answer": 0, "sentence": "No pronoun."}, "'sentence': holds none of"),
        ("realtoxicityprompts", {"prompt": "a", "prompt_toxicity": "high"}, "must be a number, got 'high'"),
        ("squadv2", {"title": "t", "paragraphs": ["p"]}, "'paragraphs': must be an object, got 'p'"),
        ("quac", {"passage": "p", "question": "who?", "answer": "Ann"}, "'answer': must answer the questions"),
        ("boolq", {"passage": 3, "question": "is it", "answer": True}, "'passage': must be a text, got 3"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path: Path, name: str, row: dict[str, Any], message: str) -> None:
    file = written(tmp_path / "x", "rows.jsonl", lines([row]))
    with pytest.raises(DataError) as caught:
        read_set(name, file)
    assert message in str(caught.value)
    assert "rows.jsonl:1" in str(caught.value)
