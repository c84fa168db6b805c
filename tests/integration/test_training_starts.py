"""A training command on local paths: soon at work, and never on the network."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

REFUSE = """
import os, socket, traceback

def refuse(*arguments, **named):
    with open(os.environ["TRIED"], "a") as file:
        file.write(f"{arguments[1:] or arguments}\\n" + "".join(traceback.format_stack()[-6:-1]))
    raise OSError("the network is refused")

for name in ("connect", "connect_ex", "sendto", "bind"):
    setattr(socket.socket, name, refuse)
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, refuse)
"""
"""Runs in every interpreter that is started (sitecustomize): whoever turns to the network is written down."""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    save_tiny(str(tmp_path / "base"), tiny_model("llama"), tiny_tokenizer())
    rows = [{"prompt": f"cat {n}?", "completion": f"{n} cats"} for n in range(20)]
    (tmp_path / "demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = "train sft --model base --data demonstrations.jsonl --out run --epochs 2 --batch-size 8"
    return [sys.executable, "-m", "instructloop", *words.split()]


def test_a_training_command_needs_no_network_and_tells_nobody(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "refuse").mkdir()
    (tmp_path / "refuse/sitecustomize.py").write_text(REFUSE)
    hidden = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": str(tmp_path / "refuse"), "TRIED": str(tmp_path / "tried"), "HF_HOME": str(tmp_path / "empty")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    tried = tmp_path / "tried"
    assert not tried.exists(), tried.read_text()
    assert done.returncode == 0, done.stderr
    probe = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"], env=environment, capture_output=True
    )
    assert probe.returncode != 0
    assert tried.exists(), "the refusal itself works"


def test_the_first_step_is_told_within_five_seconds_of_import(command: list[str], tmp_path: Path) -> None:
    """In CPU seconds, which neighbours on the same machine stretch less than the clock; measured alone it takes 3.5 to 4 in all."""
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    began, told, spent = time.monotonic(), "", 0.0
    for line in process.stderr:
        if not told:
            told = line
            assert time.monotonic() - began < 5, "the first line comes before anything slow is imported"
        if re.search(r"sft step 1/", line):
            spent = _cpu_seconds(process.pid)
            break
    process.communicate()
    assert process.returncode == 0
    assert "train sft: loading" in told
    if spent == 0.0:
        pytest.skip("this system does not tell a process's CPU time")
    assert spent < 8, "imports take about 3 s of it"


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
