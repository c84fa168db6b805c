"""Text of other people on our pages: markdown to safe HTML, and model text that cannot pass for a part of the page.

Two fences, one behind the other: markdown-it-py with raw HTML off, then an allow-list (nh3) without images, forms, styles and
schemes other than http and https. The page's Content-Security-Policy is the third.
"""

import functools
import re
from collections.abc import Sequence
from typing import Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

TAGS: Final = frozenset(
    "p h2 h3 h4 h5 h6 ul ol li blockquote pre code em strong del hr br a table thead tbody tr th td span".split()  # noqa: SIM905
)
_ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}, "code": {"class"}, "span": {"class"}, "th": {"align"}, "td": {"align"}}
_NAMES: Final = {
    **{ord(sign): name for sign, name in zip("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
       ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI", "LRM", "RLM", "ALM"), strict=True)},
    0x200B: "ZWSP", 0x2060: "WJ", 0xFEFF: "BOM", 0x00AD: "SHY", 0x180E: "MVS",
    0x2028: "LSEP", 0x2029: "PSEP", 0x115F: "HCF", 0x1160: "HJF", 0x3164: "HF", 0xFFA0: "HHF",
}  # fmt: skip
_HIDDEN: Final = re.compile(
    "[" + "".join(map(chr, _NAMES)) + "\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# NOTE: U+200C and U+200D (non-joiner, joiner) stay: Persian, Hindi and joined emoji are written with them.


def visible(text: str) -> Markup:
    """Plain text, escaped, with direction marks, zero-width and control characters shown as tokens such as ``⟦RLO⟧``."""
    return Markup(_HIDDEN.sub(_token, str(escape(text))))  # noqa: S704 - escaped first


@functools.lru_cache(maxsize=512)
def safe_html(text: str) -> Markup:
    """Markdown of our own people (guidelines, explanations) as safe HTML; headings begin at h2, links leave without a referrer."""
    return Markup(_clean(_renderer(inert=False).render(text)))  # noqa: S704 - cleaned by the allow-list


@functools.lru_cache(maxsize=512)
def model_html(text: str) -> Markup:
    """Markdown of a model as safe HTML: links are inert (the address is shown), headings are paragraphs, hidden characters are shown."""
    return Markup(_HIDDEN.sub(_token, _clean(_renderer(inert=True).render(text))))  # noqa: S704 - cleaned by the allow-list


def _token(match: "re.Match[str]") -> str:
    code = ord(match.group())
    name = _NAMES.get(code, f"U+{code:04X}")
    return f'<span class="hidden-sign" title="a character that does not show (U+{code:04X})">⟦{name}⟧</span>'


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(TAGS),
        clean_content_tags={"script", "style"},
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes={"http", "https"},
        link_rel="nofollow noopener noreferrer",
        generic_attribute_prefixes=set(),
    )


@functools.cache
def _renderer(*, inert: bool) -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"]).disable("image")
    # validateLink would turn a refused address into visible text; the allow-list does the refusing, and says it by leaving the text
    markdown.core.ruler.push("ours", _inert if inert else _shifted)
    return markdown


def _shifted(state: object) -> None:
    """h1 of a guideline becomes h2: the page has its own h1."""
    for token in _tokens(state):
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"


def _inert(state: object) -> None:
    """Headings become strong paragraphs, links their text and address."""
    for token in _tokens(state):
        if token.type in {"heading_open", "heading_close"}:
            token.tag = "p"
        for child in _links_of(token):
            child.tag = "span"
            if child.type == "link_open":
                child.meta = {"href": str(child.attrs.get("href", ""))}
                child.attrs = {"class": "inert-link"}
        if token.children:
            token.children = _with_addresses(token.children)


def _links_of(token: Token) -> list[Token]:
    return [child for child in token.children or () if child.type in {"link_open", "link_close"}]


def _with_addresses(children: Sequence[Token]) -> list[Token]:
    """The link's address as text behind it, unless the text is the address."""
    shown, href, since = [], "", 0
    for child in children:
        shown.append(child)
        if child.type == "link_open":
            href, since = child.meta["href"], len(shown)
        elif child.type == "link_close":
            said = "".join(part.content for part in shown[since:-1])
            if href and said.strip() != href:
                shown.append(Token("text", "", 0, content=f" ({href})"))
    return shown


def _tokens(state: object) -> list[Token]:
    return list(state.tokens)  # type: ignore[attr-defined]
