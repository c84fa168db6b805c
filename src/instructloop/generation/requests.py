"""What a decoder is asked for, and what it hands over at every step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from instructloop.config import SamplingConfig
from instructloop.generation.sampling import Draw


@dataclass(frozen=True, slots=True)
class Request:
    """Rows to decode.

    Attributes:
        prompts: distinct prompts as ids; each is read once.
        prompt_of: for each row the index of its prompt.
        limits: for each row its most new tokens.
        streams: for each row the number of its random stream.
        seed: row r draws from the stream keyed (seed, streams[r]).
        sampling: how to draw.
        forbidden: ids that are never drawn.
    """

    prompts: Sequence[Sequence[int]]
    prompt_of: Sequence[int]
    limits: Sequence[int]
    streams: Sequence[int]
    seed: int
    sampling: SamplingConfig
    forbidden: Sequence[int] = ()

    @property
    def capacity(self) -> int:
        """Columns that the longest row needs; the last token is never read again."""
        return max(len(self.prompts[prompt]) + limit for prompt, limit in zip(self.prompt_of, self.limits, strict=True)) - 1

    def part(self, rows: Sequence[int]) -> "Request":
        """The same for some of the rows."""
        places = {prompt: place for place, prompt in enumerate(dict.fromkeys(self.prompt_of[row] for row in rows))}
        return Request(
            prompts=[self.prompts[prompt] for prompt in places],
            prompt_of=[places[self.prompt_of[row]] for row in rows],
            limits=[self.limits[row] for row in rows],
            streams=[self.streams[row] for row in rows],
            seed=self.seed,
            sampling=self.sampling,
            forbidden=self.forbidden,
        )

    def forbidden_on(self, device: torch.device) -> Int[Tensor, "F"] | None:
        """The forbidden ids as a tensor."""
        return torch.tensor(sorted(self.forbidden), device=device) if self.forbidden else None


class Step(NamedTuple):
    """One more token for each of some rows: row ``rows[i]`` got its token number ``positions[i]``."""

    rows: Int[Tensor, "n"]
    positions: Int[Tensor, "n"]
    draw: Draw


class StepDecoder(Protocol):
    """Decodes the rows of a request, some at a time."""

    def steps(self) -> Iterator[Step]:
        """Sample until every row has ended. After each step, and before the next, the caller says with ``retire`` which ended."""
        ...

    def retire(self, ended: Bool[Tensor, "n"]) -> None:
        """Rows of the last step that are complete."""
        ...


class SeenTokens:
    """Which ids each row holds already, for the repetition penalty; None everywhere where there is no penalty."""

    def __init__(self, sampling: SamplingConfig) -> None:
        self._wanted = sampling.repetition_penalty != 1
        self.matrix: Bool[Tensor, "rows V"] | None = None

    def start(self, places: Sequence[int], prompts: Sequence[Sequence[int]], rows: int, vocabulary: int, device: torch.device) -> None:
        """Row ``places[i]`` begins with ``prompts[i]``; there are ``rows`` rows."""
        if not self._wanted:
            return
        if self.matrix is None:
            self.matrix = torch.zeros((rows, vocabulary), dtype=torch.bool, device=device)
        for place, prompt in zip(places, prompts, strict=True):
            self.matrix[place] = False
            self.matrix[place, torch.tensor(list(prompt), device=device)] = True

    def of(self, rows: int) -> Bool[Tensor, "rows V"] | None:
        """The first rows."""
        return None if self.matrix is None else self.matrix[:rows]

    def add(self, tokens: Int[Tensor, "rows"]) -> None:
        """One more token for each of the first rows."""
        if self.matrix is not None:
            self.matrix[torch.arange(len(tokens), device=tokens.device), tokens] = True

    def move(self, source: Tensor, target: Tensor) -> None:
        """Copy rows to others."""
        if self.matrix is not None:
            self.matrix[target] = self.matrix[source]
