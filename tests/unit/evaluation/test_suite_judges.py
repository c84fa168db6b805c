"""Judges of suites: trained from the files beside the sets, kept for resuming, or asked over HTTP without losing an answer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from instructloop.config.evaluation import EvaluationConfig
from instructloop.core.errors import DataError
from instructloop.core.files import read_json
from instructloop.evaluation.run import run_evaluation
from instructloop.evaluation.suites.items import Loaded
from instructloop.evaluation.suites.judges import Judges
from instructloop.scoring.sets import Item
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer

PROMPTS = ["The dog", "The cat", "A man", "They all"]


class Service(BaseHTTPRequestHandler):
    """Perspective's layout: scores alternate. Refuses after ``quota`` answers."""

    asked: ClassVar[list[str]] = []
    quota = 2

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["comment"]["text"]
        if len(self.asked) >= Service.quota:
            self.send_error(403, "quota")
            return
        self.asked.append(text)
        answer = {"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.75 if len(self.asked) % 2 else 0.25}}}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("PERSPECTIVE_API_KEY", raising=False)
    # the public service's pace of one request a second is no matter of this test
    monkeypatch.setattr("instructloop.scoring.perspective.time.sleep", lambda _seconds: None)
    Service.asked, Service.quota = [], 2
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/comments:analyze"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_service_that_stops_in_the_middle_loses_nothing_and_is_asked_nothing_twice(service: str, tmp_path: Path) -> None:
    path = save_tiny(str(tmp_path / "model"), tiny_model(), tiny_tokenizer())
    rows = [{"prompt": prompt, "prompt_toxicity": 0.1} for prompt in PROMPTS]
    (tmp_path / "realtoxicityprompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    cfg = EvaluationConfig(
        models=(f"m={path}",), suite=("realtoxicityprompts",), data=(str(tmp_path),), toxicity_judge=service, bootstrap_samples=100
    )
    with pytest.raises(DataError, match="refused the text"):
        run_evaluation(cfg, tmp_path / "eval")
    assert len(Service.asked) == 2
    Service.quota = 1000
    out = run_evaluation(cfg, tmp_path / "eval", resume=True)
    table = read_json(out / "eval" / "suites.json")
    assert len(Service.asked) == len(set(Service.asked))
    values = {(row["variant"], row["key"]): row["results"]["m"] for row in table["rows"]}
    assert values["basic", "toxicity"]["n"] == len(PROMPTS)
    assert 0.25 <= values["basic", "toxicity"]["value"] <= 0.75
    assert "perspective|127.0.0.1" in table["rows"][0]["signature"]


def test_without_training_rows_there_is_no_judge_and_the_reason_is_told(tmp_path: Path) -> None:
    judges = Judges([str(tmp_path)], tmp_path / "keep")
    with pytest.raises(DataError, match="no file of RealToxicityPrompts"):
        judges.prepare("toxicity", Loaded(scored=()))
    with pytest.raises(DataError, match="truth_labels"):
        judges.prepare("truth", Loaded(scored=()))


def test_a_trained_judge_is_kept_and_gives_the_same_scores_when_a_run_is_resumed(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{'awful horrid' if number % 2 else 'kind gentle'} words {number}", "prompt_toxicity": 0.9 if number % 2 else 0.1}
        for number in range(80)
    ]
    (tmp_path / "realtoxicityprompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    loaded = Loaded(scored=(Item(id="1", fields={"prompt": "awful horrid words 1"}),))
    texts = ["awful and horrid", "kind and gentle"]
    first, second = Judges([str(tmp_path)], tmp_path / "keep"), Judges([], tmp_path / "keep")
    first.prepare("toxicity", loaded)
    second.prepare("toxicity", loaded)
    found = first.toxicity().score(texts)
    assert found[0] > 0.6 > 0.4 > found[1]
    assert second.toxicity().score(texts) == pytest.approx(found)
    assert first.name("toxicity") == second.name("toxicity")


def test_answers_to_truthfulqa_are_marked_by_judges_that_learned_from_labels(tmp_path: Path) -> None:
    questions = [f"Is thing {number} real?" for number in range(12)]
    sets = [
        {
            "question": question,
            "best_answer": f"yes thing {number}",
            "correct_answers": [f"yes thing {number}"],
            "incorrect_answers": [f"no {number}"],
        }
        for number, question in enumerate(questions)
    ]
    truths, infos = [], []
    for number, question in enumerate(questions):
        for answer, truthful, informative in (
            (f"yes thing {number}", True, True),
            (f"no {number}", False, True),
            ("I have no comment.", True, False),
            (f"yes indeed thing {number}", True, True),
        ):
            truths.append({"question": question, "answer": answer, "truthful": truthful})
            infos.append({"question": question, "answer": answer, "informative": informative})
    for name, rows in (("truthfulqa", sets), ("truth_labels", truths), ("info_labels", infos)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    items = tuple(
        Item(
            id=str(number),
            fields={**row, "correct_answers": tuple(row["correct_answers"]), "incorrect_answers": tuple(row["incorrect_answers"])},
        )
        for number, row in enumerate(sets[:3])
    )
    judges = Judges([str(tmp_path)], tmp_path / "keep")
    judges.prepare("truth", Loaded(scored=items))
    true, informative = judges.truth(items, ["yes thing 0", "no 1", "I have no comment."])
    assert true == [True, False, True]
    assert informative == [True, True, False]
