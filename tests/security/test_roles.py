"""Control 5: every route declares its roles, and keeps to them."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from instructloop.feedback.project import Project
from instructloop.feedback.schema.people import ROLES
from instructloop.labeling.app import create_app
from instructloop.web.roles import declared_roles, require

_spec = importlib.util.spec_from_file_location("matrix", Path(__file__).with_name("matrix.py"))
assert _spec is not None
assert _spec.loader is not None
matrix = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(matrix)


def test_every_route_stands_in_the_matrix_and_every_line_of_the_matrix_is_a_route(app: FastAPI) -> None:
    declared = dict(declared_roles(app))
    assert {route for route in declared if route not in matrix.MATRIX} == set(), "routes without a line in tests/security/matrix.py"
    assert {route for route in matrix.MATRIX if route not in declared} == set(), "lines of the matrix without a route"


@pytest.mark.parametrize("route", sorted(matrix.MATRIX), ids=" ".join)
def test_each_role_gets_exactly_what_the_matrix_says(route: tuple[str, str], lasting_client: Callable[..., Any]) -> None:
    method, path = route
    allowed = matrix.MATRIX[route]
    address = re.sub(r"\{[^}]+\}", "018f0000-0000-7000-8000-000000000000", path)
    for role in (None, *ROLES):
        caller = lasting_client(role)
        answer = caller.request(method, address, headers={"X-Form-Token": caller.token, "Accept": "application/json"} if role else {})
        got = answer.status_code
        if allowed is None:
            assert got != 403 or role is None, f"{role}: {got}"
            assert got != 401 or path == "/login", f"{role}: {got}"
        elif role is None:
            assert got == 401, f"a visitor got {got}"
        elif role in allowed:
            assert got not in {401, 403}, f"{role} got {got}: {answer.text[:300]}"
            assert got < 500, f"{role} got {got}: {answer.text[:300]}"
        else:
            assert got == 403, f"{role} got {got}"


def test_an_application_with_an_undeclared_route_does_not_start(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from instructloop.labeling.tasks import router

    @router.get("/forgotten")
    def forgotten() -> str:
        return "open to everybody"

    try:
        with pytest.raises(AssertionError, match="/forgotten does not declare who may open it"):
            create_app(project)
    finally:
        router.routes.pop()


def test_a_route_with_two_declarations_is_open_only_to_their_intersection() -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/both", dependencies=[Depends(require("admin", "researcher"))])
    def both(viewer: Annotated[Any, Depends(require("researcher", "viewer"))]) -> str:
        return "x"

    assert declared_roles(app)[("GET", "/both")] == frozenset({"researcher"})
