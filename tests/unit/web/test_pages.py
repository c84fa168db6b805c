"""Rendering: addresses of static files, macros, redirects that stay here."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

pytest.importorskip("fastapi")

from instructloop.web.errors import TooManyError, back_of
from instructloop.web.pages import Pages, see_other


@pytest.fixture
def rooms(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "a.css").write_text("body {}")
    return {"own": tmp_path}


def macro(call: str, **context: object) -> str:
    pages = Pages([], {})
    source = f'{{% import "macros.html" as ui with context %}}{{{{ {call} }}}}'
    return pages.environment.from_string(source).render(csrf_token="TOKEN", **context)


def test_the_address_of_a_file_changes_with_the_content_of_its_room(rooms: dict[str, Path]) -> None:
    first = Pages([], rooms).static("own/a.css")
    assert Pages([], rooms).static("own/a.css") == first
    (rooms["own"] / "b.js").write_text("export {}")
    second = Pages([], rooms).static("own/a.css")
    assert second != first, "modules that import each other share one version"
    assert first.startswith("/static/own/")


def test_a_file_that_is_not_there_is_an_error_where_it_is_named(rooms: dict[str, Path]) -> None:
    with pytest.raises(FileNotFoundError, match="own/c.css"):
        Pages([], rooms).static("own/c.css")


def test_a_missing_value_in_a_template_is_an_error_and_no_blank() -> None:
    with pytest.raises(UndefinedError):
        macro("nowhere.to.be.found")


def test_texts_are_escaped_in_every_macro() -> None:
    bad = "<script>"
    for call in (
        "ui.button(bad)",
        "ui.notice(bad)",
        "ui.empty(bad, bad)",
        "ui.field('a', bad, bad, help=bad)",
        "ui.field('a', bad, bad, kind='textarea')",
        "ui.field('a', bad, kind='select', options=[(bad, bad)])",
        "ui.choice('a', bad, [(bad, bad)])",
        "ui.table(bad, [bad], [[bad, bad]])",
        "ui.stat(bad, bad, bad)",
        "ui.model_text(bad, 'x')",
        "ui.model_text(bad, 'x', markdown=true)",
        "ui.shield('x', bad)",
    ):
        html = macro(call, bad=bad)
        assert "<script" not in html, call
        assert "script" in html or "model_text" in call, call


def test_a_form_s_token_is_the_page_s() -> None:
    assert macro("ui.form_token()") == '<input type="hidden" name="form_token" value="TOKEN">'


def test_a_figure_is_shown_with_its_interval_and_n() -> None:
    html = macro("ui.figure(0.726, 0.711, 0.741, 300)")
    assert "72.6&nbsp;%" in html
    assert "[71.1, 74.1]" in html
    assert "n&nbsp;=&nbsp;300" in html
    assert "undefined" in macro("ui.figure(none, n=0)")
    assert "undefined" in macro("ui.figure(nan)", nan=float("nan"))


def test_a_key_is_printed_on_its_button_and_told_to_screen_readers() -> None:
    html = macro("ui.button('Submit', 'Ctrl+Enter', 'primary')")
    assert 'aria-keyshortcuts="Control+Enter"' in html
    assert "<kbd>Ctrl</kbd><kbd>Enter</kbd>" in html


def test_a_long_text_is_capped_and_can_be_opened_without_a_script() -> None:
    html = macro("ui.model_text(text, 'x')", text="word " * 1000)
    assert "capped" in html
    assert "Show all 5,000 characters" in html
    assert "capped" not in macro("ui.model_text(text, 'x')", text="word")


@pytest.mark.parametrize("address", ["https://evil.example", "//evil.example", "evil"])
def test_redirects_stay_on_the_server(address: str) -> None:
    with pytest.raises(AssertionError):
        see_other(address)
    assert see_other("/work").status_code == 303


def test_waiting_times_are_rounded_up_to_seconds() -> None:
    assert TooManyError(1).headers == {"Retry-After": "1"}
    assert TooManyError(59_001).headers == {"Retry-After": "60"}


def test_after_logging_in_again_a_form_s_task_is_opened() -> None:
    assert back_of("/task/018f/draft") == "/task/018f"
    assert back_of("/account/name") == "/"
    assert back_of("/task") == "/"
