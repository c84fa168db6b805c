"""How a server of ours runs: where it listens, what it trusts."""

import ipaddress
from dataclasses import dataclass, field

from instructloop.core.errors import ConfigError

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """``count`` tries in ``seconds``."""

    count: int
    seconds: int


LIMITS = {
    "login_account": Limit(count=5, seconds=60),
    "login_address": Limit(count=20, seconds=60),
    "link_address": Limit(count=20, seconds=60),
    "submit": Limit(count=60, seconds=60),
    "export": Limit(count=5, seconds=3600),
    "message": Limit(count=30, seconds=3600),
}
"""What is limited, per account or per address; kept in the store (``instructloop.feedback.rate_limits``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    """Settings of one server process."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs an admin account first."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    https: bool = False
    """A TLS proxy stands in front: cookies become Secure and carry the __Host- prefix."""
    proxy: bool = False
    """Believe X-Forwarded-For and X-Forwarded-Proto of a proxy on this machine. Off: they are ignored."""
    hosts: tuple[str, ...] = ()
    """Further host names this server answers to, e.g. ("label.example.org",)."""
    max_body_bytes: int = 4 * 1024 * 1024
    """Largest request body outside uploads."""
    limits: dict[str, Limit] = field(default_factory=lambda: dict(LIMITS))
    """Rate limits by name."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be in 0..65535, got {self.port}", hint="leave it out for 8000")
        for host in self.hosts:
            if "/" in host or host.strip() != host or not host:
                raise ConfigError(f"{host!r} is not a host name", hint="give the name alone: label.example.org")
            if host == "*":
                raise ConfigError("a server that answers to every host name can be reached by DNS rebinding", hint="name the hosts")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def trusted_hosts(self) -> list[str]:
        """Names a request may be addressed to."""
        own = [] if self.host in {"0.0.0.0", "::"} else [self.host]  # noqa: S104 - compared, not bound
        return [*dict.fromkeys(("localhost", "127.0.0.1", "[::1]", *own, *self.hosts))]


def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine alone."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(settings: ServerSettings, *, has_admin: bool, has_key: bool) -> list[str]:
    """Refuse to be reachable from outside before there is an admin and a key; warn of what remains.

    Returns:
        Warnings to print.

    Raises:
        ConfigError: beyond loopback without an admin account or a secret key.
    """
    if settings.is_loopback:
        return []
    if not has_admin:
        raise ConfigError(
            f"{settings.host} can be reached from other machines, and there is no admin yet",
            hint="start once without --host, open the set-up URL on this machine, then start again",
        )
    if not has_key:
        raise ConfigError(
            f"{settings.host} can be reached from other machines, and the project has no secret key", hint="restore secret.key"
        )
    warnings = []
    if not settings.https:
        warnings.append(
            "reachable from other machines without TLS: passwords and answers travel in clear; put a TLS proxy in front and give --https"
        )
    if not settings.hosts and settings.host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        warnings.append("no host name is allowed besides localhost: give --hosts NAME, or every request from outside gets 400")
    return warnings
