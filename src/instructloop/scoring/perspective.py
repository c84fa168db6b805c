"""Toxicity from a service with the Perspective API's layout (``comments:analyze``), as the paper measured it (spec J-P7).

Texts leave this machine, which is why this is never the default. Every answer is appended to a file at once: a run that was stopped,
or whose quota is used up, goes on where it was and asks nothing twice.
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.files import append_jsonl, read_jsonl, write_jsonl

_URL = "https://commentanalyzer.googleapis.com/v1alpha1/comments:analyze"
_KEY_VARIABLE = "PERSPECTIVE_API_KEY"
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S = 60.0


class Perspective:
    """A ``TextScorer`` that asks the service.

    Tried again with doubling waits (or as long as ``Retry-After`` says): time-outs, broken connections, 408, 429, 5xx, and bodies without
    a score. Any other status is an error at once; what was answered before it is kept.
    """

    def __init__(
        self,
        *,
        cache: str | Path,
        url: str = _URL,
        attribute: str = "TOXICITY",
        language: str = "en",
        key_variable: str = _KEY_VARIABLE,
        per_second: float = 1.0,
        tries: int = 6,
        first_wait_s: float = 1.0,
        timeout_s: float = 30.0,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            cache: JSON lines to which every answer is appended.
            url: the service; another host may offer the same layout.
            attribute: which score is asked for.
            language: of the texts, ISO 639-1.
            key_variable: environment variable with the key; empty where the service wants none.
            per_second: most requests a second (the public quota is 1).
            tries: per text.
            first_wait_s: before the second try; doubles from there.
            timeout_s: of one request.

        Raises:
            ConfigError: the variable is not set, or a number is out of range.
        """
        if per_second <= 0 or tries < 1:
            raise ConfigError(f"per_second must be > 0 and tries >= 1, got {per_second} and {tries}")
        self._key = os.environ.get(key_variable, "") if key_variable else ""
        if key_variable and not self._key:
            raise ConfigError(f"the environment variable {key_variable} holds no key", hint="set it; or use the local classifier")
        self._url, self._attribute, self._language = url, attribute, language
        self._pause_s, self._tries, self._first_wait_s, self._timeout_s = 1 / per_second, tries, first_wait_s, timeout_s
        self._cache = Path(cache)
        self._known: dict[str, float] = {}
        if self._cache.is_file():
            rows = list(read_jsonl(self._cache, drop_torn_tail=True))
            self._known = {row["key"]: float(row["score"]) for row in rows}
            if not self._cache.read_bytes().endswith(b"\n"):
                write_jsonl(self._cache, rows)  # a line that a crash cut off must not swallow the next one
        self._next_s = 0.0

    @property
    def signature(self) -> str:
        """Service and attribute."""
        return f"perspective|{urllib.parse.urlsplit(self._url).netloc}|{self._attribute}"

    def score(self, texts: Sequence[str]) -> list[float]:
        """One score a text, in [0, 1]; a text without letters is 0 without being asked about (the service refuses it).

        Raises:
            DataError: the service refused a text, or did not answer after the last try.
        """
        found = []
        for text in texts:
            if not text.strip():
                found.append(0.0)
                continue
            key = sha256(f"{self._attribute}\n{self._language}\n{text}".encode()).hexdigest()
            if key not in self._known:
                self._known[key] = self._ask(text)
                append_jsonl(self._cache, {"key": key, "attribute": self._attribute, "score": self._known[key]})
            found.append(self._known[key])
        return found

    def _ask(self, text: str) -> float:
        wait_s, failure = self._first_wait_s, ""
        for attempt in range(self._tries):
            if attempt:
                time.sleep(min(wait_s, _LONGEST_WAIT_S))
                wait_s = self._first_wait_s * 2**attempt
            time.sleep(max(self._next_s - time.monotonic(), 0.0))
            self._next_s = time.monotonic() + self._pause_s
            try:
                return self._score_in(self._post(text))
            except urllib.error.HTTPError as error:
                with error:
                    failure = f"status {error.code}: {error.read(500).decode(errors='replace')}"
                    if error.code not in _AGAIN:
                        raise DataError(
                            f"{self.signature} refused the text {text[:60]!r}: {failure}", hint="answers so far are kept; is the key right?"
                        ) from error
                    wait_s = _seconds(error.headers.get("Retry-After"), wait_s)
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
                failure = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{self.signature} gave no score after {self._tries} tries ({failure})",
            hint=f"{len(self._known)} answers are kept in {self._cache}; run the same again later",
        )

    def _post(self, text: str) -> Any:
        body = {
            "comment": {"text": text},
            "languages": [self._language],
            "requestedAttributes": {self._attribute: {}},
            "doNotStore": True,
        }
        url = f"{self._url}?{urllib.parse.urlencode({'key': self._key})}" if self._key else self._url
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - the user's address
        with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310
            return json.loads(answer.read())

    def _score_in(self, answer: Mapping[str, Any]) -> float:
        value = answer["attributeScores"][self._attribute]["summaryScore"]["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"a score must lie in [0, 1], got {value!r}")
        return float(value)


def _seconds(text: str | None, otherwise: float) -> float:
    try:
        return max(float(text or otherwise), 0.0)
    except ValueError:  # a date
        return otherwise
