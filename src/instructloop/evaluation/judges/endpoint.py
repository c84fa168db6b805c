"""A judge behind an OpenAI-compatible endpoint (``/v1/chat/completions``), with the standard library alone."""

import http.client
import json
import logging
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from instructloop.config.judge import JudgeConfig
from instructloop.core.errors import ConfigError, JudgeError
from instructloop.core.seeds import stream
from instructloop.evaluation.judges.asking import Answer, Question

logger = logging.getLogger(__name__)
_TRY_AGAIN = frozenset({408, 409, 425, 429})
_ITS_OWN_FAULT = frozenset({400, 413, 422})
"""The endpoint refuses this one question: too long, or held back by a filter. Others may be answered."""
_LARGEST_BODY = 8 << 20
_PIECE = 1 << 16
_SHOWN_BODY = 2000
_REFUSED_IN_A_ROW = 5
"""So many refusals before the first answer say that the request itself is wrong, not the questions."""


class _Failure(Exception):  # noqa: N818 - never seen outside this file
    """One failed try."""

    def __init__(self, error: str, status: int | None = None, body: str = "", wait_s: float | None = None, *, again: bool = True) -> None:
        super().__init__(error)
        self.error, self.status, self.body, self.wait_s, self.again = error, status, body, wait_s, again

    def row(self) -> dict[str, Any]:
        """For the journal."""
        return {"error": self.error, "status": self.status, "body": self.body[:_SHOWN_BODY]}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


class EndpointJudge:
    """Asks an endpoint, several questions at a time.

    Tried again, with growing waits: time-outs, broken connections, status 408, 409, 425, 429 and 5xx, bodies that are no completion.
    After the last try the endpoint counts as gone: no new question is sent, those under way are waited for, then JudgeError is raised.

    Args:
        cfg: address, model, key's variable, patience.

    Raises:
        ConfigError: the variable that should hold the key is not set.
    """

    def __init__(self, cfg: JudgeConfig) -> None:
        self.name = cfg.model
        self._cfg = cfg
        base = cfg.url.rstrip("/").removesuffix("/chat/completions")
        self._url = f"{base}/chat/completions"
        self._key = _key(cfg.key_env)
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if urlsplit(cfg.url).hostname in {"localhost", "127.0.0.1", "::1"}:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Answers in the order in which they arrive; see ``Backend``."""
        waiting, running = iter(questions), set[Future[Answer]]()
        stop, refused, answered, problem = threading.Event(), 0, False, ""
        fatal: JudgeError | None = None
        with ThreadPoolExecutor(self._cfg.workers, thread_name_prefix="judge") as pool:
            try:
                while True:
                    while fatal is None and len(running) < self._cfg.workers and (question := next(waiting, None)) is not None:
                        running.add(pool.submit(self._ask, question, stop))
                    if not running:
                        break
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        try:
                            answer = future.result()
                        except JudgeError as error:
                            fatal = fatal or error
                            stop.set()
                            continue
                        if answer.problem:
                            refused, problem = refused + 1, answer.problem
                        else:
                            answered = True
                        yield answer
                    if fatal is None and not answered and refused >= _REFUSED_IN_A_ROW:
                        fatal = JudgeError(
                            f"{self._url} has refused each of the first {refused} questions: {problem}",
                            hint="mend what it complains of (--judge.model, --judge.max_tokens, --judge.body)",
                        )
            finally:
                stop.set()
        if fatal is not None:
            raise fatal

    def _ask(self, question: Question, stop: threading.Event) -> Answer:
        started, tries = time.monotonic(), list[dict[str, Any]]()
        for number in range(self._cfg.retries + 1):
            if stop.is_set():
                break
            try:
                body = self._post(question)
                return _answer(question, body, time.monotonic() - started, tries)
            except _Failure as failure:
                tries.append(failure.row())
                if failure.status in _ITS_OWN_FAULT:
                    problem = f"status {failure.status}: {failure.body[:300] or failure.error}"
                    return Answer(question=question, problem=problem, seconds=time.monotonic() - started, tries=tuple(tries))
                if not failure.again:
                    raise JudgeError(
                        f"{self._url} refuses to judge: {failure.error} {failure.body[:300]}".rstrip(),
                        hint="check --judge.url, --judge.model and the variable named by --judge.key_env",
                    ) from failure
                if number < self._cfg.retries:
                    pause = self._pause(question, number, failure.wait_s)
                    logger.info("judge: %s; again in %.1f s", failure.error, pause)
                    stop.wait(pause)
        last = tries[-1]["error"] if tries else "stopped"
        raise JudgeError(f"{self._url} does not answer ({last}, {len(tries)} tries)", hint="see that the endpoint runs and has capacity")

    def _pause(self, question: Question, number: int, asked: float | None) -> float:
        wait_s = self._cfg.backoff_s * 2**number if asked is None else asked
        # Up to a quarter more, different for each question, so that those that failed together do not come back together.
        spread = 1 + stream(0, "judge backoff", question.ask.key, number).random() / 4
        return min(wait_s * spread, self._cfg.longest_wait_s)

    def _post(self, question: Question) -> Any:
        body = {
            "model": self._cfg.model,
            "messages": [{"role": message.role, "content": message.content} for message in question.messages],
            "temperature": self._cfg.temperature,
            "max_tokens": self._cfg.max_tokens,
            **self._cfg.extra_body,
        }
        data = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(self._url, data=data, headers=headers, method="POST")  # noqa: S310 - the scheme is checked in JudgeConfig
        try:
            with self._opener.open(request, timeout=self._cfg.timeout_s) as response:
                raw = self._text(response)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except TimeoutError:
            raise _Failure(f"no answer within {self._cfg.timeout_s:g} s") from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, socket.gaierror) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            if isinstance(reason, TimeoutError):
                raise _Failure(f"no answer within {self._cfg.timeout_s:g} s") from None
            raise _Failure(f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)) from None
        try:
            return json.loads(raw)
        except (json.JSONDecodeError, RecursionError):
            raise _Failure("the answer is no JSON", 200, raw) from None

    def _text(self, response: Any) -> str:
        """The body as text, read within the time limit even if it drips."""
        limit, pieces, size = time.monotonic() + self._cfg.timeout_s, list[bytes](), 0
        while piece := response.read1(_PIECE):
            pieces.append(piece)
            size += len(piece)
            if size > _LARGEST_BODY:
                raise _Failure(f"the answer is longer than {_LARGEST_BODY >> 20} MiB", 200)
            if time.monotonic() > limit:
                raise TimeoutError
        return self._clean(b"".join(pieces))

    def _refusal(self, error: urllib.error.HTTPError) -> _Failure:
        try:
            body = self._text(error)
        except (TimeoutError, OSError, http.client.HTTPException, _Failure):
            body = ""
        again = error.code in _TRY_AGAIN or error.code >= 500
        return _Failure(
            f"status {error.code} {error.reason}",
            error.code,
            body,
            _retry_after(str(error.headers.get("Retry-After") or "").strip()),
            again=again,
        )

    def _clean(self, raw: bytes) -> str:
        """Text that can be written down: valid UTF-8, without the key if the endpoint repeats it."""
        text = raw.decode("utf-8", "replace")
        return text.replace(self._key, "[key]") if self._key else text


def _key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {variable} holds no key", hint=f"export {variable}=..., or leave out --judge.key_env")
    return key


def _retry_after(asked: str) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date; None without a readable one."""
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _answer(question: Question, body: Any, seconds: float, tries: Sequence[Mapping[str, Any]]) -> Answer:
    """The answer in a chat completion.

    Raises:
        _Failure: the body is JSON, but no chat completion.
    """
    try:
        text = body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise _Failure("the answer is no chat completion", 200, json.dumps(body)) from None
    if text is not None and not isinstance(text, str):
        raise _Failure("the answer's content is no text", 200, json.dumps(body))
    usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
    return Answer(
        question=question,
        # JSON may spell half a surrogate pair, which no file in UTF-8 can hold
        text=(text or "").encode("utf-8", "replace").decode(),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        seconds=seconds,
        tries=tuple(tries),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
