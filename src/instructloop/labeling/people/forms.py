"""Fields of the screening's forms: the same names on the exercises, the screening and the page of errors."""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import FormData


def read_answer(form: FormData, kind: str, payload: Mapping[str, Any], position: int) -> dict[str, Any]:
    """One answer from the fields ``q<position>...``; what is missing or odd stays out, the checks then say so."""
    name = f"q{position}"
    if kind == "sensitive":
        return {"sensitive": str(form.get(name, ""))}
    if kind == "ranking":
        tiers = [str(form.get(f"{name}.{slot}", "")) for slot in range(len(payload["outputs"]))]
        return {"tiers": [int(tier) if tier.isascii() and tier.isdigit() and len(tier) < 3 else None for tier in tiers]}
    if kind == "self":
        known = payload.get("options", [])
        return {"chosen": [str(value) for value in form.getlist(name) if value in known], "text": str(form.get(f"{name}.text", ""))}
    return {"text": str(form.get(name, ""))}
