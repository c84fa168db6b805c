"""``instructloop chat``: a line in, a reply out, while it is written; works with a pipe as well."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from instructloop.cli.arguments import parse
from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.errors import DataError, InstructLoopError
from instructloop.core.records import Message, PromptContent
from instructloop.core.seeds import derive

_BANNER = "Type a line and press Enter; /new forgets the conversation, /quit or Ctrl-D ends."


@dataclass(frozen=True)
class ChatArguments:
    """Arguments of ``chat``."""

    model: Annotated[str, tyro.conf.Positional]
    """A run or a model directory."""
    prompt: str = ""
    """Answer this one prompt and end."""
    temperature: float = 0.7
    """0 is greedy."""
    max_new_tokens: int = 128
    """Longest reply in tokens."""
    seed: int = 0
    """The same seed and prompts give the same replies."""
    history: bool = False
    """Show the model the conversation so far (it needs a chat template, and training on conversations)."""
    chat_template: bool = True
    """Wrap the line as a user turn if the tokenizer has a chat template; off lets the model continue your text."""


def chat(arguments: list[str], prog: str) -> None:
    """Talk to a model."""
    given = parse(ChatArguments, arguments, prog)
    sampling = SamplingConfig(temperature=given.temperature, max_new_tokens=given.max_new_tokens)
    engine = _engine(given)
    asked: list[Message] = []
    interactive = not given.prompt and sys.stdin.isatty()
    if interactive:
        print(_BANNER, file=sys.stderr)
    for number, line in enumerate([given.prompt] if given.prompt else _lines(interactive)):
        if line.strip() == "/quit":
            break
        if line.strip() == "/new":
            asked.clear()
            continue
        content: PromptContent = (*asked, Message("user", line)) if given.history else line
        try:
            reply = _reply(engine, content, sampling, derive(given.seed, "chat", number))
        except InstructLoopError as error:
            if not interactive:
                raise
            print(f"error: {error.message}", file=sys.stderr)
            continue
        if given.history:
            asked += [Message("user", line), Message("assistant", reply)]


def _engine(given: ChatArguments) -> Any:
    from instructloop.data import TextCodec
    from instructloop.generation import TorchEngine
    from instructloop.models import load_causal, load_tokenizer

    tokenizer = load_tokenizer(given.model)
    if given.history and not tokenizer.chat_template:
        raise DataError(f"{given.model}: the tokenizer has no chat template", hint="leave --history out")
    codec = TextCodec(tokenizer, chat_template=given.chat_template, name=given.model)
    return TorchEngine(load_causal(given.model, ComputeConfig(), trainable=False), codec)


def _reply(engine: Any, content: PromptContent, sampling: SamplingConfig, seed: int) -> str:
    pieces: list[str] = []
    for piece in engine.stream(content, sampling=sampling, seed=seed):
        pieces.append(piece)
        print(piece, end="", flush=True)
    print(flush=True)
    return "".join(pieces)


def _lines(interactive: bool) -> Iterator[str]:
    while True:
        if interactive:
            try:
                line = input("> ")  # line editing where the terminal offers it
            except EOFError:
                print()
                return
        else:
            line = sys.stdin.readline()
            if not line:
                return
            line = line.rstrip("\n")
        if line.strip():
            yield line
