"""A chat-completions endpoint on this machine whose behavior a test decides, request by request."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_FENCE = re.compile(r"<<< (request|answer A|answer B|answer) ([0-9a-f]{12}) >>>\n(.*?)\n<<< end of \1 \2 >>>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint does with one request: the text it says, or something that goes wrong."""

    text: str | None = ""
    status: int = 200
    body: str | bytes | None = None
    """Sent as it is, instead of a chat completion."""
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    """Close the connection without an answer."""
    wait: threading.Event | None = None
    """Answer only when this is set (at the latest after ten seconds)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    number: int
    """From 0, in order of arrival."""
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    path: str

    @property
    def user(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])

    @property
    def fenced(self) -> dict[str, str]:
        """The texts between the markers, by title (request, answer A, answer B, answer)."""
        return {title: text for title, _, text in _FENCE.findall(self.user)}


Behavior = Callable[[Seen], "Reply | str"]


@dataclass(slots=True)
class JudgeEndpoint:
    """A running endpoint; ``behave`` may be replaced while it runs."""

    url: str
    behave: Behavior
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def judge_endpoint(behave: Behavior) -> Iterator[JudgeEndpoint]:
    """Serve on a free port of this machine until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.close_connection = True
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with endpoint.lock:
                seen = Seen(len(endpoint.seen), data, dict(self.headers), self.path)
                endpoint.seen.append(seen)
            said = endpoint.behave(seen)
            reply = Reply(said) if isinstance(said, str) else said
            if reply.wait is not None:
                reply.wait.wait(10)
            if not reply.drop:
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            message = {"role": "assistant", "content": reply.text}
            usage = {"prompt_tokens": 100, "completion_tokens": 7}
            body = json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}) if reply.body is None else reply.body
            raw = body.encode() if isinstance(body, str) else body
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(raw)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)
            except (BrokenPipeError, ConnectionResetError):
                return  # the client has given up waiting

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    endpoint = JudgeEndpoint(f"http://127.0.0.1:{server.server_address[1]}/v1", behave)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def prefers(word: str) -> Behavior:
    """An honest judge: the answer that holds the word is better; both or none is a tie."""

    def behave(seen: Seen) -> str:
        held = [word in seen.fenced[title] for title in ("answer A", "answer B")]
        return "One of them says it.\nVerdict: " + ("tie" if held[0] == held[1] else "A" if held[0] else "B")

    return behave
