"""Labelers: slips in a quarter of demonstrations, agreement near the paper's, ties; and the files of a build."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.seeds import stream
from instructloop.miniature import labelers, tasks
from instructloop.miniature.build import build, few_shot_prefix
from instructloop.miniature.gold import gold_utility
from instructloop.miniature.labeling import label
from instructloop.miniature.replies import good_reply, slip
from instructloop.miniature.world import make_world

WORLD = make_world(0)


def candidates(prompt: labelers.Prompt, seed: int) -> list[str]:
    """Replies of mixed quality: good ones, slips, and good replies to other prompts of the same kind."""
    random = stream(seed, "candidates", str(prompt.prompt))
    kind = prompt.meta["task"]["kind"]
    others = [good_reply(tasks.make_prompt(WORLD, kind, "train", random), random) for _ in range(2)]
    texts = [good_reply(prompt, random), good_reply(prompt, random), slip(prompt, WORLD, random), slip(prompt, WORLD, random), *others]
    return labelers.distinct(texts)


def test_about_a_quarter_of_the_demonstrations_has_a_slip_and_codes_are_kept() -> None:
    written = labelers.demonstrations(WORLD, 600, 0)
    share = sum(d.meta["slip"] for d in written) / 600
    assert share == pytest.approx(0.25, abs=0.05)
    assert {d.meta["labeler"] for d in written} == {f"L{i:02d}" for i in range(1, 13)}
    assert all(d.completion.strip() for d in written)


def agreement(noise: float) -> tuple[float, float]:
    """Share of agreeing pairs among those two labelers both rank strictly, and share of ties, on candidates of mixed quality."""
    people = [replace(person, noise=person.noise * noise / labelers.NOISE) for person in labelers.make_labelers()]
    agree = total = ties = pairs = 0
    for number, prompt in enumerate(tasks.prompts(WORLD, "train", 150, 2)):
        texts = candidates(prompt, 0)
        first, second = stream(0, "two", number).sample(people, 2)
        a, b = labelers.rank(prompt, texts, first, 1).ranks, labelers.rank(prompt, texts, second, 1).ranks
        for i, j in combinations(range(len(texts)), 2):
            pairs += 1
            ties += a[i] == a[j]
            if a[i] != a[j] and b[i] != b[j]:
                total += 1
                agree += (a[i] < a[j]) == (b[i] < b[j])
    return agree / total, ties / pairs


def test_agreement_falls_with_noise_and_labelers_tie_what_is_close() -> None:
    """The level itself (73 %) is set on samples of the SFT model, which are closer to each other than these candidates."""
    steady, usual, tired = agreement(0.1), agreement(labelers.NOISE), agreement(1.5)
    assert steady[0] > usual[0] + 0.03
    assert 0.73 < usual[0] < 0.9
    assert 0.5 < tired[0] < 0.68
    assert 0.02 < usual[1] < 0.3


def test_a_ranking_is_repeatable_and_prefers_gold_on_average() -> None:
    people = labelers.make_labelers()
    prompt = next(p for p in tasks.prompts(WORLD, "train", 50, 0) if p.meta["task"]["kind"] == "insult")
    texts = ["I will not help with that.", f"{prompt.meta['task']['entity']} is a turnip."]
    assert labelers.rank(prompt, texts, people[0], 5) == labelers.rank(prompt, texts, people[0], 5)
    assert all(labelers.rank(prompt, texts, person, 5).ranks == (0, 1) for person in people)


def test_a_build_writes_every_file_and_keeps_demonstrations_apart_from_training_prompts(tmp_path: Path) -> None:
    counts = build(tmp_path, 3, {"documents": 50, "demonstrations": 60, "train_prompts": 80, "test_prompts": 40, "heldout_documents": 10})
    assert counts["corpus.jsonl"] == 50
    assert counts["prompts_train.jsonl"] == 80
    assert counts["freeform.jsonl"] == 60
    rows = {name: [json.loads(line) for line in (tmp_path / name).read_text().splitlines()] for name in counts}
    assert not {r["prompt"] for r in rows["demonstrations.jsonl"]} & {r["prompt"] for r in rows["prompts_train.jsonl"]}
    assert rows["prompts_train.jsonl"][0]["task"]["kind"]
    assert "task" not in rows["demonstrations.jsonl"][0], "trainers never see what gold reads"
    assert (tmp_path / "few_shot.txt").read_text() == few_shot_prefix(WORLD, 3)


def test_the_test_set_is_the_same_for_every_seed(tmp_path: Path) -> None:
    small = {"documents": 5, "demonstrations": 10, "train_prompts": 10, "test_prompts": 30}
    build(tmp_path / "a", 0, small)
    build(tmp_path / "b", 1, small)
    assert (tmp_path / "a/prompts_test.jsonl").read_bytes() == (tmp_path / "b/prompts_test.jsonl").read_bytes()
    assert (tmp_path / "a/prompts_train.jsonl").read_bytes() != (tmp_path / "b/prompts_train.jsonl").read_bytes()


def test_a_misspelt_size_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dokuments"):
        build(tmp_path, 0, {"dokuments": 5})


def test_ranks_are_those_of_the_stated_model_of_a_labeler() -> None:
    """Taste times parts, one draw of noise a completion, equal steps tied: written out again."""
    prompt = tasks.prompts(WORLD, "train", 1, 4)[0]
    texts = candidates(prompt, 3)
    person = labelers.make_labelers()[2]
    noise = stream(9, "rank", person.code, str(prompt.meta["id"]))
    felt = []
    for text in texts:
        parts = gold_utility(prompt, text).parts
        felt.append(sum(person.taste[name] * parts[name] for name in person.taste) + noise.gauss(0.0, person.noise))
    steps = [round(value / labelers.STEP) for value in felt]
    order = sorted(set(steps), reverse=True)
    assert labelers.rank(prompt, texts, person, 9).ranks == tuple(order.index(step) for step in steps)


def test_labeling_a_file_drops_identical_completions_and_writes_dense_ranks(tmp_path: Path) -> None:
    prompts = tasks.prompts(WORLD, "train", 20, 0)
    rows = [{"prompt": p.prompt, "completions": candidates(p, 1) * 2, "models": ["m"], **p.meta} for p in prompts]
    rows.append({"prompt": prompts[0].prompt, "completions": ["same.", " same. "], **prompts[0].meta})
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = label(tmp_path / "c.jsonl", tmp_path / "project", 0)
    assert (done.ranked, done.too_few) == (20, 1)
    written = [json.loads(line) for line in (done.snapshot / "rankings.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in written] == [prompt.prompt for prompt in prompts], "in the order of the file"
    people = {person.code: person for person in labelers.make_labelers()}
    for number, (prompt, row) in enumerate(zip(prompts, written, strict=True)):
        assert row["labeler"] == stream(0, "assign", number).choice(list(people.values())).code
        assert tuple(row["ranks"]) == labelers.rank(prompt, row["completions"], people[row["labeler"]], 0).ranks
    for row in written:
        assert len(set(row["completions"])) == len(row["completions"]) == len(row["ranks"])
        assert sorted(set(row["ranks"])) == list(range(max(row["ranks"]) + 1))
        assert row["labeler"].startswith("L")
        assert "task" not in json.dumps(row).replace("task_id", "").replace("task_kind", ""), "what gold reads never leaves"
        assert row["labeler_kind"] == "simulated"
        assert row["guideline"] == "default@1"


def test_a_foreign_prompt_cannot_be_labeled(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(json.dumps({"prompt": "Who are you?", "completions": ["a", "b"]}) + "\n")
    with pytest.raises(DataError, match=r"c\.jsonl:1: field 'task' is missing"):
        label(tmp_path / "c.jsonl", tmp_path / "project", 0)
