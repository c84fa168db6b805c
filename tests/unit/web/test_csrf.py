"""Control 4, its first half: where an unsafe request came from."""

import pytest

pytest.importorskip("starlette")

from starlette.datastructures import Headers

from instructloop.web.csrf import from_own_page, matches, token_for


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.example"}, False),
        ({"origin": "http://label.example.org"}, True),
        ({"origin": "https://label.example.org"}, True),
        ({"origin": "http://LABEL.example.org:80"}, True),
        ({"origin": "http://label.example.org:8001"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://label.example.org.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "file://"}, False),
    ],
)
def test_only_requests_from_our_own_pages_pass(headers: dict[str, str], own: bool) -> None:
    assert from_own_page(Headers({"host": "label.example.org", **headers})) is own


def test_tokens_differ_by_login_and_are_compared_whole() -> None:
    one, other = token_for("first secret"), token_for("second secret")
    assert one != other
    assert len(one) == 64
    assert matches(one, one)
    assert not matches(one, other)
    assert not matches(one, one[:-1])
    assert not matches(one, "ä")
