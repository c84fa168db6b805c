"""Requests that change something come from our own pages: Fetch Metadata or Origin first, then a token in the form.

The first check needs no state and stands before everything else; the second binds a form to the login (or, before logging in,
to a visitor's cookie), so that even a browser without Fetch Metadata is covered twice.
"""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

FIELD = "form_token"
HEADER = "x-form-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def token_for(secret: str | bytes, purpose: str = "form") -> str:
    """The token of a login's or visitor's forms."""
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, purpose.encode(), hashlib.sha256).hexdigest()


def matches(expected: str, given: str) -> bool:
    """Compare without telling by the time taken how much was right."""
    return hmac.compare_digest(expected.encode(), given.encode())


def from_own_page(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that an unsafe request began on a page of this server.

    ``Sec-Fetch-Site`` decides where it is there (``same-origin`` or ``none``); an ``Origin`` that names a host must name this
    one. Without ``Sec-Fetch-Site`` the ``Origin`` must be there. ``Origin: null`` counts as none: browsers send it from pages
    with our ``Referrer-Policy: no-referrer``, and from sandboxed frames of anybody.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin", "null")
    if origin != "null" and not _same_host(origin, headers.get("host", "")):
        return False
    return origin != "null" if site is None else site in {"same-origin", "none"}


def _same_host(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        return False
    default = ":" + _DEFAULT_PORTS[parts.scheme]
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
