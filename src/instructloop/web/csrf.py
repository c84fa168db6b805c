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

    ``Sec-Fetch-Site`` must be ``same-origin`` or ``none`` if it is there; an ``Origin`` must name this host if it is there; at
    least one of the two must be.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is None and origin is None:
        return False
    if site is not None and site not in {"same-origin", "none"}:
        return False
    return origin is None or _same_host(origin, headers.get("host", ""))


def _same_host(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        return False
    default = ":" + _DEFAULT_PORTS[parts.scheme]
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
