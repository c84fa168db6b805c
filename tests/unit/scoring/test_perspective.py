"""The client of a Perspective-like service against a real server on this machine."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import ConfigError, DataError
from instructloop.scoring.perspective import Perspective


class _Service(ThreadingHTTPServer):
    """Scores a text by the share of its letters that are x; the next answers can be set to fail."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.failures: list[tuple[int, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1alpha1/comments:analyze"


class _Handler(BaseHTTPRequestHandler):
    server: _Service

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.paths.append(self.path)
        text = body["comment"]["text"]
        status, answer = 200, json.dumps({"attributeScores": {"TOXICITY": {"summaryScore": {"value": text.count("x") / len(text)}}}})
        if self.server.failures:
            status, answer = self.server.failures.pop(0)
        if status == 0:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        if status == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[_Service]:
    server = _Service()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "s3cret")


def _client(service: _Service, folder: Path, **settings: Any) -> Perspective:
    return Perspective(**{"cache": folder / "scores.jsonl", "url": service.url, "per_second": 1000, "first_wait_s": 0.01, **settings})


def test_texts_are_scored_and_nothing_is_asked_twice(service: _Service, tmp_path: Path) -> None:
    client = _client(service, tmp_path)
    assert client.score(["xxab", "ab", "xxab", "  "]) == [0.5, 0, 0.5, 0]
    assert len(service.asked) == 2
    assert service.asked[0] == {
        "comment": {"text": "xxab"},
        "languages": ["en"],
        "requestedAttributes": {"TOXICITY": {}},
        "doNotStore": True,
    }
    assert service.paths[0].endswith("?key=s3cret")
    assert _client(service, tmp_path).score(["ab", "x"]) == [0, 1]
    assert len(service.asked) == 3
    assert "s3cret" not in (tmp_path / "scores.jsonl").read_text()


def test_failures_that_pass_are_tried_again(service: _Service, tmp_path: Path) -> None:
    service.failures = [(429, "{}"), (503, "later"), (0, ""), (200, "junk"), (200, '{"attributeScores": {}}')]
    assert _client(service, tmp_path).score(["xa"]) == [0.5]
    assert len(service.asked) == 6


def test_a_service_that_stops_loses_nothing(service: _Service, tmp_path: Path) -> None:
    client = _client(service, tmp_path, tries=2)
    assert client.score(["xa"]) == [0.5]
    service.failures = [(500, "down"), (500, "down")]
    with pytest.raises(DataError, match="no score after 2 tries .*status 500: down") as caught:
        client.score(["xa", "xb"])
    assert "1 answers are kept" in str(caught.value.hint)
    with (tmp_path / "scores.jsonl").open("a") as file:
        file.write('{"key": "torn')  # as a crash leaves it
    assert _client(service, tmp_path).score(["xa", "xb"]) == [0.5, 0.5]
    assert _client(service, tmp_path).score(["xa", "xb"]) == [0.5, 0.5]
    assert len(service.asked) == 4


def test_a_refusal_is_an_error_at_once_and_names_no_key(service: _Service, tmp_path: Path) -> None:
    service.failures = [(403, "key not valid")]
    with pytest.raises(DataError, match="refused the text 'xa': status 403: key not valid") as caught:
        _client(service, tmp_path).score(["xa"])
    assert "s3cret" not in str(caught.value)
    assert len(service.asked) == 1


def test_requests_keep_to_the_quota(service: _Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("instructloop.scoring.perspective.time.sleep", waited.append)
    _client(service, tmp_path, per_second=2).score(["a", "b"])
    assert waited[0] == 0
    assert 0.3 < waited[1] <= 0.5


def test_a_missing_key_and_a_bad_score_are_named(service: _Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service.failures = [(200, '{"attributeScores": {"TOXICITY": {"summaryScore": {"value": 7}}}}')]
    with pytest.raises(DataError, match="must lie in \\[0, 1\\], got 7"):
        _client(service, tmp_path, tries=1).score(["a"])
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    with pytest.raises(ConfigError, match="PERSPECTIVE_API_KEY holds no key"):
        _client(service, tmp_path)
    assert _client(service, tmp_path, key_variable="").score(["x"]) == [1]
    with pytest.raises(ConfigError, match="per_second must be > 0"):
        _client(service, tmp_path, key_variable="", per_second=0)
