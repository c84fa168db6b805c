"""Control 20: nothing of other people's, and no other host, in templates, style sheets, modules and the built wheel."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import instructloop

PACKAGE = Path(instructloop.__file__).parent
ROOT = PACKAGE.parents[1]
PAGES = [
    file
    for room in ("web", "labeling")
    for file in sorted((PACKAGE / room).rglob("*"))
    if file.suffix in {".html", ".css", ".js", ".mjs", ".svg"}
]
LOADS = re.compile(
    r"""(?:src|href|action|formaction|poster|data)\s*=\s*["']?\s*(?:https?:)?//|@import|url\(\s*["']?\s*(?:https?:)?//|\bimport\b[^;]*["'](?:https?:)?//""",
    re.IGNORECASE,
)
NAMESPACES = ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml")
STRANGERS = re.compile(
    r"jquery|htmx|alpine|react(?:\.|-dom)|vue\.|bootstrap|tailwind|lodash|fontawesome|@license|sourceMappingURL|googleapis|unpkg|jsdelivr|cdnjs",
    re.IGNORECASE,
)


def test_there_is_something_to_look_at() -> None:
    assert len([file for file in PAGES if file.suffix == ".html"]) >= 5
    assert any(file.suffix == ".css" for file in PAGES)


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_page_file_names_another_host_or_holds_a_stranger(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for namespace in NAMESPACES:
        text = text.replace(namespace, "")
    assert not LOADS.search(text), LOADS.search(text)
    assert not re.search(r"https?://(?!example\.(?:org|com))", text), "a page file names a host"
    assert not STRANGERS.search(text), STRANGERS.search(text)


@pytest.mark.parametrize("file", [file for file in PAGES if file.suffix == ".html"], ids=lambda file: str(file.relative_to(PACKAGE)))
def test_templates_hold_no_inline_code_or_style_and_never_switch_escaping_off(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text, re.IGNORECASE), "inline script"
    assert not re.search(r"<style|\sstyle\s*=", text, re.IGNORECASE), "inline style"
    assert not re.search(r"\son[a-z]+\s*=\s*[\"']", text), "inline handler"
    assert not re.search(r"\|\s*safe\b|autoescape\s+false|Markup\(", text), "escaping switched off"
    for form in re.findall(r"<form\b[^>]*method=[\"']?post.*?</form>", text, re.DOTALL | re.IGNORECASE):
        assert "form_token()" in form, f"a form without its token: {form[:120]}"


@pytest.mark.parametrize(
    "file", [file for file in PAGES if file.suffix in {".js", ".mjs"}], ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_modules_write_no_code_and_no_foreign_markup(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert not re.search(r"\beval\(|new Function\(|document\.write|setTimeout\(\s*[\"']", text)
    assert not re.search(r"\.style\.cssText|setAttribute\(\s*[\"']style", text)


def test_the_scan_finds_what_it_is_there_to_find() -> None:
    for bad in (
        "<script src='//cdn.example/x.js'>",
        '@import "https://fonts.example/x.css";',
        "url(//x.example/f.woff2)",
        '<link href="https://a.b/c">',
    ):
        assert LOADS.search(bad), bad
    assert STRANGERS.search("/*! jQuery v3 */")


def test_the_built_wheel_holds_every_page_file_and_nothing_more_of_that_kind(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not a source checkout")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"instructloop/{file.relative_to(PACKAGE).as_posix()}" for file in PAGES}
    assert expected <= names
    kinds = {name for name in names if name.startswith(("instructloop/web/", "instructloop/labeling/")) and not name.endswith((".py", "/"))}
    assert kinds == expected
    assert not [name for name in names if name.endswith((".woff", ".woff2", ".ttf", ".otf", ".map", ".min.js", ".min.css"))]
    assert {"instructloop/feedback/guidelines/training.md", "instructloop/feedback/migrations/script.py.mako"} <= names
