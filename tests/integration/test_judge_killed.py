"""A process that is killed while it waits for its judge loses no answer."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from instructloop.cli.main import main
from instructloop.testing.judge_endpoint import Reply, Seen, judge_endpoint, prefers


def test_after_a_kill_only_the_questions_without_an_answer_are_asked(tmp_path: Path) -> None:
    file = tmp_path / "completions.jsonl"
    rows = [
        {"prompt": f"q{n}", "model": name, "completion": f"{word} {n}"}
        for name, word in (("sft", "bad"), ("ppo", "good"))
        for n in range(6)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, hold = tmp_path / "out", threading.Event()

    def stalls(seen: Seen) -> Reply | str:
        return Reply("Verdict: A", wait=hold) if seen.number >= 5 else prefers("good")(seen)

    words = ["evaluate", "--completions", str(file), "--out", str(out), "--judge.model", "m", "--judge.workers", "1"]
    with judge_endpoint(stalls) as endpoint:
        command = [sys.executable, "-m", "instructloop.cli.main", *words, "--judge.url", endpoint.url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + 120
        while len(endpoint.seen) < 6 and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        hold.set()
        assert len(endpoint.seen) == 6
        assert len((out / "judgements.jsonl").read_text().splitlines()) == 5
        endpoint.behave = prefers("good")
        assert main([*words, "--judge.url", endpoint.url, "--resume", "--bootstrap-samples", "2000"]) == 0
        assert len(endpoint.seen) == 6 + 7
    table = json.loads((out / "eval/judge.json").read_text())
    assert (table["wins"][0]["a"], table["wins"][0]["win_rate"], table["wins"][0]["n"]) == ("ppo", 1.0, 6)
    assert table["judge"]["asks"] == {"now": 7, "from_journal": 5}
