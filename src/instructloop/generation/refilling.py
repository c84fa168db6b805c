"""The decoding loop over slots: a row that has ended gives its slot to a waiting prompt, and in the end rows move together."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from instructloop.generation.library import Library, StepFunction
from instructloop.generation.requests import Request, SeenTokens, Step
from instructloop.generation.sampling import draw, row_noise
from instructloop.generation.slots import KeysValues, SlotCache, Zone
from instructloop.models import compute_dtype, device_of

REFILL_SHARE = 1 / 8
"""Prompts wait until this share of the slots is free, so that several are read in one pass."""
COMPACT_BELOW = 0.9
"""When nothing waits, rows are moved together when fewer than this share of the slots in play is alive."""
ZONES = (1 / 8, 1 / 2)
"""Where the first zones of slots end: long rows lie before shorter ones. With lengths as they are in practice, attention reads
a third less than over one zone, and moving rows from zone to zone costs a tenth of what that spares."""
SAME_ZONE = 0.9
"""A zone whose longest row has this share of the columns of the one before it is joined to it."""
PREFILL_TOKENS = 4096
"""Tokens, padding included, that are read in one pass."""


class _Prefix(NamedTuple):
    """What was read of one prompt, kept for rows of it that still wait."""

    prompt: int
    logits: Float[Tensor, "1 V"]
    layers: list[KeysValues]


class RefillingDecoder:
    """Decodes any number of rows through a fixed number of slots.

    Args:
        library: the model, in evaluation mode.
        step: its decoding step over slots.
        request: what to decode.
        slots: rows decoded together.
    """

    def __init__(self, library: Library, step: StepFunction, request: Request, slots: int) -> None:
        self._library, self._step, self._request = library, step, request
        self._device = device_of(library.model)
        self._slots = slots = min(slots, len(request.prompt_of))
        layers = int(library.model.config.get_text_config().num_hidden_layers)
        self._cache = SlotCache(layers, slots, request.capacity, compute_dtype(library.model))
        # prompts of similar length are read together, the longest first; rows of one prompt follow each other
        lengths = [len(prompt) for prompt in request.prompts]
        order = sorted(range(len(request.prompt_of)), key=lambda row: (-lengths[request.prompt_of[row]], request.prompt_of[row], row))
        self._waiting = deque(order)
        self._prefix: _Prefix | None = None
        self._row = np.zeros(slots, dtype=np.int64)
        self._column = np.zeros(slots, dtype=np.int64)  # the next one to write
        self._position = np.zeros(slots, dtype=np.int64)
        self._alive = np.zeros(slots, dtype=np.bool_)
        self._noise = np.zeros((slots, request.sampling.max_new_tokens))
        self._forbidden = request.forbidden_on(self._device)
        self._seen = SeenTokens(request.sampling)
        self._logits: Tensor | None = None
        self._in_play = 0
        self._borders = _borders(slots)
        self._last = np.zeros(0, dtype=np.int64)  # slots of the step handed out last

    def steps(self) -> Iterator[Step]:
        """Sample until every row has ended."""
        self._admit()
        while self._in_play:
            count = self._in_play
            assert self._logits is not None
            noise = self._noise[np.arange(count), self._position[:count]]
            drawn = draw(self._logits, self._put(noise), self._request.sampling, self._forbidden, self._seen.of(count))
            self._seen.add(drawn.tokens)
            self._last = self._alive[:count].nonzero()[0]
            rows, positions = self._put(self._row[self._last]), self._put(self._position[self._last])
            if len(self._last) == count:
                yield Step(rows, positions, drawn)
            else:
                kept = self._put(self._last)
                yield Step(rows, positions, type(drawn)(*(one[kept] for one in drawn)))
            self._position[:count] += self._alive[:count]
            self._advance(drawn.tokens)

    def retire(self, ended: Bool[Tensor, "n"]) -> None:
        """Rows of the last step that are complete."""
        slots = self._last[ended.cpu().numpy()]
        self._alive[slots] = False
        self._column[slots] = 0  # it goes on writing there until it is refilled

    def _advance(self, tokens: Tensor) -> None:
        """Run the rows that go on through the model, and fill free slots."""
        alive = int(self._alive.sum())
        refill = bool(self._waiting) and self._slots - alive >= REFILL_SHARE * self._slots
        if refill or (not self._waiting and alive < COMPACT_BELOW * self._in_play):
            tokens = self._arrange(alive, self._slots if refill else alive, tokens)
        if self._in_play:
            columns = self._column[: self._in_play]
            self._cache.begin(self._put(columns), self._zones())
            self._logits = self._step(tokens, self._cache)
            columns += self._alive[: self._in_play]
        if refill:
            self._admit()

    def _zones(self) -> list[Zone]:
        """Zones of the slots in play, joined where that costs little."""
        zones: list[Zone] = []
        start = 0
        for border in (*self._borders, self._in_play):
            end = min(border, self._in_play)
            if end <= start:
                continue
            columns = self._column[start:end]
            longest = int(columns.max()) + 1
            even = bool(columns.min() + 1 == longest)
            if zones and longest >= SAME_ZONE * zones[-1].longest:
                before = zones[-1]
                even = even and before.even and before.longest == longest
                zones[-1] = Zone(before.start, end, max(longest, before.longest), even)
            else:
                zones.append(Zone(start, end, longest, even))
            start = end
        return zones

    def _admit(self) -> None:
        """Read as many waiting prompts as there are free slots."""
        free = (~self._alive).nonzero()[0].tolist()
        rows = [self._waiting.popleft() for _ in range(min(len(free), len(self._waiting)))]
        while rows:
            group, logits, layers, which = self._read(rows)
            rows = rows[len(group) :]
            slots, free = free[: len(group)], free[len(group) :]
            self._fill(group, slots, logits[which], layers, which)
            last = self._request.prompt_of[group[-1]]
            following = rows or self._waiting
            self._prefix = None
            if following and self._request.prompt_of[following[0]] == last:
                end = int(which[-1])
                self._prefix = _Prefix(
                    last, logits[end : end + 1].clone(), [KeysValues(*(one[end : end + 1].clone() for one in layer)) for layer in layers]
                )
            del layers  # before the next are read beside them

    def _read(self, rows: Sequence[int]) -> tuple[list[int], Tensor, list[KeysValues], Tensor]:
        """The first of some rows with what was read of their prompts: logits and keys by prompt, and which prompt is whose."""
        prompt_of, prompts = self._request.prompt_of, self._request.prompts
        known = self._prefix
        if known is not None and prompt_of[rows[0]] == known.prompt:
            group = [row for row in rows if prompt_of[row] == known.prompt]
            return group, known.logits, known.layers, torch.zeros(len(group), dtype=torch.long, device=self._device)
        longest = len(prompts[prompt_of[rows[0]]])
        places: dict[int, int] = {}
        group = []
        for row in rows:
            if prompt_of[row] not in places and len(places) * longest >= PREFILL_TOKENS:
                break
            places.setdefault(prompt_of[row], len(places))
            group.append(row)
        logits, layers = self._library.read([prompts[prompt] for prompt in places])
        return group, logits, layers, torch.tensor([places[prompt_of[row]] for row in group], device=self._device)

    def _fill(self, rows: list[int], slots: list[int], logits: Tensor, layers: list[KeysValues], which: Tensor) -> None:
        """Let rows begin in slots."""
        where = torch.tensor(slots, device=self._device)
        self._cache.fill(where, layers, which)
        prompts = [self._request.prompts[self._request.prompt_of[row]] for row in rows]
        streams = [self._request.streams[row] for row in rows]
        self._noise[slots] = row_noise(self._request.seed, streams, self._noise.shape[1]).numpy()
        self._row[slots], self._column[slots] = rows, [len(prompt) for prompt in prompts]
        self._position[slots], self._alive[slots] = 0, True
        self._in_play = max(self._in_play, max(slots) + 1)
        self._seen.start(slots, prompts, self._slots, logits.shape[1], self._device)
        if self._logits is None or len(self._logits) < self._in_play:
            grown = logits.new_zeros((self._in_play, logits.shape[1]))
            if self._logits is not None:
                grown[: len(self._logits)] = self._logits
            self._logits = grown
        self._logits[where] = logits

    def _arrange(self, alive: int, total: int, tokens: Tensor) -> Tensor:
        """Move the rows alive to the first slots, each to the zone of its rank by length unless it is there already.

        Args:
            alive: how many they are.
            total: slots in play from now on, those for rows to come included.
            tokens: the last token of each slot.

        Returns:
            The last tokens of the first ``alive`` slots.
        """
        slots = self._alive.nonzero()[0]
        by_length = slots[np.argsort(-self._column[slots], kind="stable")]
        self._borders = _borders(total)
        sources: list[int] = []
        targets: list[int] = []
        start = 0
        for border in (*self._borders, total):
            end = min(border, alive)
            ranked = by_length[start:end]
            here = (ranked >= start) & (ranked < end)
            sources += ranked[~here].tolist()
            targets += np.setdiff1d(np.arange(start, end), ranked[here], assume_unique=True).tolist()
            start = end
        if sources:
            source, target = np.array(sources), np.array(targets)
            from_here, to_there = self._put(source), self._put(target)
            self._cache.move(from_here, to_there, int(self._column[source].max()))
            self._seen.move(from_here, to_there)
            tokens = tokens.clone()
            tokens[to_there] = tokens[from_here]
            for state in (self._row, self._column, self._position, self._noise):
                state[target] = state[source]
        self._alive[:alive], self._alive[alive:] = True, False
        self._column[alive:] = 0
        self._position[alive:] = 0
        self._in_play = alive
        assert self._logits is not None
        self._logits = self._logits[:alive]  # rows to come are added to those of the next step
        return tokens[:alive]

    def _put(self, values: np.ndarray) -> Tensor:
        """A copy on the model's device."""
        return torch.from_numpy(values.copy()).to(self._device)


def _borders(slots: int) -> list[int]:
    return [round(slots * share) for share in ZONES]
