"""Rate limits at the door of a route."""

import hashlib
import ipaddress
from typing import Annotated

from fastapi import Depends, Request

from instructloop.feedback import rate_limits
from instructloop.web.errors import TooManyError
from instructloop.web.roles import Viewer, viewer_of
from instructloop.web.settings import ServerSettings


def spend(request: Request, name: str, who: str) -> None:
    """Count one try of ``who`` (an account, an address; kept as a hash only) against the limit ``name``.

    Raises:
        TooManyError: 429 with Retry-After.
    """
    settings: ServerSettings = request.app.state.settings
    limit = settings.limits[name]
    wait = rate_limits.hit(request.app.state.db, key_of(request, name, who), limit=limit.count, window_ms=limit.seconds * 1000)
    if wait:
        raise TooManyError(wait)


def forgive(request: Request, name: str, who: str) -> None:
    """Start the count afresh."""
    rate_limits.forget(request.app.state.db, key_of(request, name, who))


def key_of(request: Request, name: str, who: str) -> str:
    """The counter's name in the store: no address and no e-mail stands there in clear."""
    return f"{name}/{hashlib.sha256(request.app.state.project.key + who.encode()).hexdigest()[:32]}"


def address(request: Request) -> str:
    """The address a request comes from: the peer's, unless the server was told to believe its proxy."""
    return neighbourhood(request.client.host) if request.client is not None else "local"


def neighbourhood(host: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one, which a single household can fill at will."""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))


class Limited:
    """A dependency that limits a route per account: ``dependencies=[Depends(limited("submit"))]``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, request: Request, viewer: Annotated[Viewer | None, Depends(viewer_of)]) -> None:
        """Count the try."""
        spend(request, self.name, viewer.user.id if viewer is not None else address(request))


def limited(name: str) -> Limited:
    """Declare a limit of ``ServerSettings.limits`` for a route."""
    return Limited(name)
