"""The page itself: one HTML file that needs nothing else, not even a script to be readable.

Everything that a model wrote is escaped by the template engine, and a content security policy that knows only the hashes of our
own style sheet and script makes sure that whatever slips through stays text.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from instructloop.core.errors import MissingExtraError
from instructloop.core.files import write_atomic
from instructloop.report.numbers import number, seconds
from instructloop.report.read import read_stories

_TEMPLATES = files("instructloop.report") / "templates"
REPORT = "report.html"


def write_report(path: str | Path, *more: str | Path, out: str | Path | None = None) -> Path:
    """Write ``report.html`` of a pipeline, a single run, or several side by side, from their files.

    Args:
        path: the pipeline's or the run's directory.
        more: further ones.
        out: where to write; default ``report.html`` inside the first directory.

    Raises:
        CheckpointError: the directory holds neither a pipeline nor a run.
        MissingExtraError: Jinja2 is not installed.
    """
    place = Path(path)
    target = Path(out) if out else place / REPORT
    write_atomic(target, render(place, *map(Path, more)))
    return target


def render(path: Path, *more: Path) -> str:
    """The report of one or several directories as HTML text; the same files give the same text."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError.for_extra("jinja2", "report") from error
    from instructloop.report.lineage import origin
    from instructloop.report.view import build_page

    story = read_stories([path, *more])
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "seconds": seconds,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
        "prompt_text": lambda row: readable(row.get("prompt", "")),
        "reply_text": lambda row: str(row.get("completion", "")) or "(nothing)",
        "score_text": score_text,
    }
    style, script = _template("report.css"), _template("report.js")
    names: Mapping[str, Any] = {
        "page": build_page(story),
        "origin": origin(story),
        "style": style,
        "script": script,
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; base-uri 'none'; form-action 'none'",
    }
    return environment.get_template("report.html.j2").render(names)


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def readable(prompt: Any) -> str:
    """A prompt as text: as it stands, or one line a turn."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{turn.get('role', '')}: {turn.get('content', '')}" for turn in prompt)


def score_text(row: Mapping[str, Any]) -> str:
    """The reward of a sampled row, whatever its stage calls it."""
    found = next((row[name] for name in ("reward", "rm_score", "score") if isinstance(row.get(name), int | float)), None)
    return "" if found is None else number(float(found))
