"""How a worker keeps in step with the harness: commands as JSON lines in, one JSON line back for each.

A work (an SFT training, say) runs once from beginning to end, in the library's own loop; a hook at the end of each of its steps is
all there is of us in it. The hook measures CPU time, and between two rounds it waits for the harness, so that the other side can
have its turn. Standard output belongs to the protocol; what libraries print goes to standard error.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

import torch


class FinishedError(Exception):
    """The harness has seen enough of this work: leaves the library's loop."""


class Line:
    """The two ends of the protocol."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._in: IO[str] = sys.stdin

    def send(self, message: Mapping[str, Any]) -> None:
        """One JSON line."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def receive(self) -> dict[str, Any]:
        """The next command; the end of the input says "quit"."""
        text = self._in.readline()
        return dict(json.loads(text)) if text else {"do": "quit"}


class Pace:
    """The hook: call ``step`` at the end of each step of the work, and ``ready`` is told to the harness after the warm-up."""

    def __init__(self, line: Line, *, warm_up: int, steps_each: int) -> None:
        self.line, self.warm_up, self.steps_each = line, warm_up, steps_each
        self.checks: dict[str, float] = {}
        """Numbers that must be the same on the other side."""
        self.probe: dict[str, Any] = {}
        """What the other side is to reckon anew."""
        self._done = 0
        self._totals: dict[str, float] = {}
        self._started = (0.0, 0.0)
        self._profiler: torch.profiler.profile | None = None

    @property
    def warming_up(self) -> bool:
        """Whether this step is not timed."""
        return self._done < self.warm_up

    @property
    def number(self) -> int:
        """Steps done before this one."""
        return self._done

    def step(self, **amounts: float) -> None:
        """A step has ended that dealt with these amounts (tokens, episodes...)."""
        self._done += 1
        for name, amount in amounts.items():
            self._totals[name] = self._totals.get(name, 0) + amount
        timed = self._done - self.warm_up
        if timed < 0 or timed % self.steps_each:
            return
        if timed == 0:
            self.line.send({"ready": True, "checks": self.checks, "probe": self.probe})
        else:
            cpu, wall = time.process_time() - self._started[0], time.perf_counter() - self._started[1]
            operations = self._operations()
            self.line.send({"cpu_s": cpu, "wall_s": wall, "steps": self.steps_each, "amounts": self._totals, "operations": operations})
        command = self.line.receive()["do"]
        if command not in {"round", "profile"}:
            raise FinishedError
        if command == "profile":
            self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
            self._profiler.start()
        self._totals = {}
        self._started = (time.process_time(), time.perf_counter())

    def _operations(self) -> dict[str, float]:
        """Own seconds of each torch operation in the round that was profiled; nothing for the others."""
        if self._profiler is None:
            return {}
        self._profiler.stop()
        events = self._profiler.key_averages()
        self._profiler = None
        return {event.key: event.self_cpu_time_total / 1e6 for event in events if "::" in event.key}


def serve(works: Mapping[str, Callable[..., None]], about: Mapping[str, Any]) -> None:
    """Answer the harness until it says "quit".

    Args:
        works: name of a work to the function that does it, called with the command and a ``Pace``.
        about: what the greeting tells of this side, e.g. versions.
    """
    line = Line()
    line.send({"hello": True, **about})
    while (command := line.receive())["do"] != "quit":
        pace = Pace(line, warm_up=command.get("warm_up", 1), steps_each=command.get("steps_each", 1))
        try:
            works[command["work"]](command, pace)
        except FinishedError:
            line.send({"finished": True})
        except Exception as error:  # noqa: BLE001 - whatever it is, the harness must hear of it
            # NOTE: the traceback first, so that it is in the log when the harness reads the message and looks there
            traceback.print_exc()
            sys.stderr.flush()
            line.send({"error": f"{type(error).__name__}: {error}"})
            return
        else:
            line.send({"finished": True})
