"""An inspection that asks the models themselves."""

import json

from instructloop.config import InspectionConfig
from instructloop.core.files import read_json
from instructloop.evaluation.observatory import inspect
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer


def test_models_are_asked_once_and_their_answers_kept(tmp_path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"p{i}"}) + "\n" for i in range(4)))
    save_tiny(str(tmp_path / "ppo" / "model"), tiny_model(seed=1), tiny_tokenizer())
    reference = save_tiny(str(tmp_path / "reference"), tiny_model(seed=2), tiny_tokenizer())
    metrics = [{"step": s, "ppo/kl": 0.1, "ppo/reward": 0.2} for s in (1, 2)]
    rule = {"name": "length_band", "args": {"low": 1, "high": 4}}
    config = {"model": reference, "prompts": str(prompts), "sampling": {"max_new_tokens": 4}, "reward": rule}
    run = tmp_path / "ppo"
    head = {"schema_version": 1, "stage": "ppo"}
    (run / "config.json").write_text(json.dumps({**head, "config": config}))
    (run / "lineage.json").write_text(json.dumps({**head, "parents": []}))
    (run / "status.json").write_text(json.dumps({"status": "done"}))
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    asking = InspectionConfig(models="yes", best_of_n=4, probes=True)
    (file,) = inspect(run, asking)
    found = read_json(file)
    names = [section["name"] for section in found["sections"]]
    assert {"best_of_n", "sycophancy", "top", "habits"} <= set(names)
    (kept,) = (run / "eval" / "observatory").glob("answers-*.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [sum(row["who"] == who for row in rows) for who in ("policy", "reference")] == [4, 16]
    assert all(row["kl"] is not None for row in rows if row["who"] == "policy")
    file.unlink()
    inspect(run, asking)
    assert read_json(file)["sections"] == found["sections"]
