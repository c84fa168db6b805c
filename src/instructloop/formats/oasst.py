"""Open-Assistant's exports: message trees (``{"message_tree_id", "prompt": {... "replies": [...]}}``) and flat messages with ``parent_id``.

Every thread that ends in a prompter's message is a prompt; each assistant reply to it that a person wrote is a demonstration; siblings
with ranks (0 = best) are a ranking by consensus, and, where the export holds events, each person's own ranking too. A deleted message is
left out with all that hangs on it, and so is one that the reviewers turned down (``review_result`` false); both are counted.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from instructloop.core.records import Demonstration, Message, Prompt, Ranking, dense_ranks
from instructloop.formats import fields as check
from instructloop.formats.foreign import ForeignRecord, Imported, Notes, Placed, Source, finished, listed, mapping, rows_of
from instructloop.formats.loaded import RowProblemError, Skip, Where

TOOL = "oasst"
CONSENSUS = "consensus"
_ROLES = {"prompter": "user", "assistant": "assistant"}
Node = dict[str, Any]


def read_oasst(source: Source, *, skip_bad_rows: bool = False) -> Imported:
    """Trees or flat messages of an Open-Assistant export.

    Args:
        source: ``.trees.jsonl.gz``, ``.messages.jsonl.gz`` (also unpacked), or rows.
        skip_bad_rows: leave bad trees out and list them, instead of stopping.

    Raises:
        DataError: a bad row or tree, with file, line, field and remedy.
    """
    items: list[Placed] = []
    skipped: list[Skip] = []
    notes = Notes()
    flat: list[tuple[Where, Node]] = []

    def add(where: Where, root: Node, tree: dict[str, Any]) -> None:
        notes.parts.clear()
        try:
            records = [*_tree(root, tree, notes)]
        except RowProblemError as problem:
            if not skip_bad_rows:
                raise problem.as_error(where) from None
            skipped.append(problem.as_skip(where))
            return
        items.extend(Placed(where, record) for record in records)
        skipped.extend(Skip(where.file, where.line, name, reason, whole_row=False) for name, reason in notes.parts)

    for where, row in rows_of(source):
        try:
            if isinstance(row, RowProblemError):
                raise row
            if "prompt" in row and "message_id" not in row:
                tree = {name: value for name, value in row.items() if name != "prompt"}
                add(where, mapping(check.required(row, "prompt"), "prompt"), tree)
            else:
                check.text(check.required(row, "message_id"), "message_id")
                flat.append((where, row))
        except RowProblemError as problem:
            if not skip_bad_rows:
                raise problem.as_error(where) from None
            skipped.append(problem.as_skip(where))
    for where, root in _grow(flat, skipped, skip_bad_rows=skip_bad_rows):
        add(where, root, {})
    return finished(source, "Open-Assistant", items, skipped, notes)


def _grow(flat: list[tuple[Where, Node]], skipped: list[Skip], *, skip_bad_rows: bool) -> Iterator[tuple[Where, Node]]:
    """Trees out of flat messages, in the order of their roots."""
    nodes: dict[str, Node] = {}
    for where, row in flat:
        if row["message_id"] in nodes:
            _refuse(where, "message_id", f"{row['message_id']!r} stands twice in the file", skipped, lenient=skip_bad_rows)
            continue
        nodes[row["message_id"]] = {**row, "replies": []}
    roots: list[tuple[Where, Node]] = []
    for where, row in flat:
        parent = row.get("parent_id")
        if parent is None:
            roots.append((where, nodes[row["message_id"]]))
        elif isinstance(parent, str) and parent in nodes:
            nodes[parent]["replies"].append(nodes[row["message_id"]])
        else:
            _refuse(where, "parent_id", f"{parent!r} is no message of this file", skipped, lenient=skip_bad_rows)
    yield from roots


def _refuse(where: Where, field: str, reason: str, skipped: list[Skip], *, lenient: bool) -> None:
    problem = RowProblemError(field, reason, hint="export the whole tree, or pass --skip-bad-rows")
    if not lenient:
        raise problem.as_error(where)
    skipped.append(problem.as_skip(where))


def _tree(root: Node, tree: dict[str, Any], notes: Notes) -> Iterator[ForeignRecord]:
    """Records of one tree, depth first in the order of the file."""
    stack: list[tuple[Node, tuple[Message, ...], str]] = [(root, (), "prompt")]
    while stack:
        node, before, place = stack.pop()
        if node.get("deleted") or node.get("review_result") is False:
            name = "deleted" if node.get("deleted") else "turned_down"
            notes.leave_out(f"{name}_messages", place, f"was {name.replace('_', ' ')}; left out with its {_below(node)} replies")
            continue
        thread = (*before, _message(node, place))
        replies = [mapping(reply, f"{place}.replies[{n}]") for n, reply in enumerate(listed(node.get("replies"), f"{place}.replies"))]
        if thread[-1].role == "user":
            yield from _at_prompt(node, thread, replies, tree, place)
        stack += [(reply, thread, f"{place}.replies[{number}]") for number, reply in reversed([*enumerate(replies)])]


def _message(node: Node, place: str) -> Message:
    role = node.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RowProblemError(f"{place}.role", f"must be prompter or assistant, got {role!r}")
    text = check.text(check.required(node, "text"), f"{place}.text")
    return Message("user" if role == "prompter" else "assistant", text)


def _at_prompt(
    node: Node, thread: tuple[Message, ...], replies: Sequence[Node], tree: dict[str, Any], place: str
) -> Iterator[ForeignRecord]:
    meta = {**tree, **_plain(node)}
    answers = [reply for reply in replies if not reply.get("deleted") and reply.get("review_result") is not False]
    for number, reply in enumerate(answers):
        _message(reply, f"{place}.replies[{number}]")
    yield Prompt(prompt=thread, meta={TOOL: meta})
    for reply in answers:
        if not reply.get("synthetic"):
            who = {} if reply.get("user_id") is None else {"labeler": str(reply["user_id"])}
            yield Demonstration(prompt=thread, completion=reply["text"], meta={**who, TOOL: {"parent": meta, **_plain(reply)}})
    ranked = [reply for reply in answers if reply.get("rank") is not None]
    texts = tuple(reply["text"] for reply in answers)
    about = {"parent_id": node.get("message_id"), "replies": [_plain(reply) for reply in answers]}
    if len(ranked) > 1:
        ranks = check.ranks([reply.get("rank") for reply in answers], len(answers), f"{place}.replies.rank")
        yield Ranking(prompt=thread, completions=texts, ranks=ranks, labeler=CONSENSUS, meta={TOOL: about})
    yield from _single_rankings(node, answers, thread, texts, about)


def _single_rankings(
    node: Node, answers: Sequence[Node], thread: tuple[Message, ...], texts: tuple[str, ...], about: dict[str, Any]
) -> Iterator[Ranking]:
    """Each person's own order, from the events of the message that was answered."""
    events = mapping(node.get("events"), "events").get("ranking")
    for event in listed(events, "events.ranking"):
        found = mapping(event, "events.ranking")
        order = listed(found.get("ranked_message_ids"), "events.ranking.ranked_message_ids")
        names = [reply.get("message_id") for reply in answers]
        ranks = dense_ranks(tuple(order.index(name) if name in order else None for name in names))
        if sum(rank is not None for rank in ranks) < 2:
            continue
        yield Ranking(
            prompt=thread,
            completions=texts,
            ranks=ranks,
            labeler=None if found.get("user_id") is None else str(found["user_id"]),
            none_acceptable=bool(found.get("not_rankable")),
            meta={TOOL: {**about, "event": found}},
        )


def _plain(node: Node) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in {"text", "replies"}}


def _below(node: Node) -> int:
    count, stack = 0, [node]
    while stack:
        replies = [reply for reply in stack.pop().get("replies") or [] if isinstance(reply, dict)]
        count += len(replies)
        stack += replies
    return count
