"""Where a round's time went: torch operations in groups, and what lies between them. It explains an MFU below its bar."""

from collections.abc import Mapping, Sequence

GROUPS: Sequence[tuple[str, Sequence[str]]] = (
    ("matrix products", ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "_linear_pointwise", "addmv", "mv", "dot")),
    ("attention", ("scaled_dot_product", "flash_attention")),
    ("optimizer and clipping", ("adam", "_foreach", "linalg_vector_norm", "sqrt_", "addcdiv", "addcmul")),
    (
        "softmax, loss, drawing",
        ("softmax", "logsumexp", "nll_loss", "cross_entropy", "searchsorted", "cumsum", "multinomial", "vdot", "vecdot"),
    ),
    (
        "copies, gathers, padding",
        ("copy", "cat", "index", "gather", "scatter", "select", "slice", "embedding", "fill", "zero", "stack", "contiguous"),
    ),
    ("elementwise and sums", ("",)),
)
"""Group to parts of operation names; the first that fits takes the operation."""
BETWEEN = "between operations"


def group_of(operation: str) -> str:
    """The group of an operation such as ``aten::addmm``."""
    name = operation.rpartition("::")[2]
    for group, parts in GROUPS:
        exact = group == GROUPS[0][0]
        if any(name == part if exact else part in name for part in parts):
            return group
    raise AssertionError("the last group takes all")


def grouped(operations: Mapping[str, float], total: float) -> dict[str, float]:
    """Shares of the time by group, and the rest: Python, dispatch, tokenization, files.

    Args:
        operations: own seconds by operation.
        total: seconds of the same work without the profiler, which slows what lies between.
    """
    shares = {group: 0.0 for group, _ in GROUPS}
    for operation, seconds in operations.items():
        shares[group_of(operation)] += seconds / total
    shares[BETWEEN] = max(0.0, 1.0 - sum(shares.values()))
    return shares


def render(profiles: Mapping[tuple[str, str], Mapping[str, float]]) -> str:
    """A table: one row for each (work, size)."""
    if not profiles:
        return ""
    columns = [group for group, _ in GROUPS] + [BETWEEN]
    lines = [
        "",
        "## Where our time goes",
        "",
        "Own time of torch's operations over the time of an unprofiled round; one profiled round each.",
        "",
    ]
    lines += [f"| work | size | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for (work, size), shares in profiles.items():
        lines.append(f"| {work} | {size} | " + " | ".join(f"{shares[column]:.0%}" for column in columns) + " |")
    return "\n".join(lines) + "\n"
