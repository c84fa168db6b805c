"""Control 18 and the end of control 2: what a server refuses, and what it warns of."""

import pytest

pytest.importorskip("fastapi")

from instructloop.core.errors import ConfigError
from instructloop.web.settings import ServerSettings, check_exposure, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "::1", "[::1]"])
def test_loopback_addresses_need_nothing(host: str) -> None:
    assert is_loopback(host)
    assert check_exposure(ServerSettings(host=host), has_admin=False, has_key=True) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "label.example.org", "127.0.0.1.evil.example"])
def test_reachable_addresses_need_an_admin_and_a_key(host: str) -> None:
    settings = ServerSettings(host=host, hosts=("label.example.org",))
    with pytest.raises(ConfigError, match="no admin yet"):
        check_exposure(settings, has_admin=False, has_key=True)
    with pytest.raises(ConfigError, match="no secret key"):
        check_exposure(settings, has_admin=True, has_key=False)
    assert len(check_exposure(settings, has_admin=True, has_key=True)) == 1


@pytest.mark.parametrize(
    ("https", "hosts", "warnings"),
    [
        (False, (), ["without TLS", "no host name"]),
        (True, (), ["no host name"]),
        (False, ("a.example",), ["without TLS"]),
        (True, ("a.example",), []),
    ],
)
def test_the_configuration_matrix_of_an_open_address(https: bool, hosts: tuple[str, ...], warnings: list[str]) -> None:
    told = check_exposure(ServerSettings(host="0.0.0.0", https=https, hosts=hosts), has_admin=True, has_key=True)
    assert len(told) == len(warnings)
    assert all(part in line for part, line in zip(warnings, told, strict=True))


@pytest.mark.parametrize("hosts", [("*",), ("https://label.example.org",), ("",), (" a",)])
def test_host_names_are_names(hosts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        ServerSettings(hosts=hosts)


def test_proxies_are_not_believed_unless_asked_for() -> None:
    assert ServerSettings().proxy is False


def test_an_open_address_is_not_a_trusted_name() -> None:
    assert ServerSettings(host="0.0.0.0").trusted_hosts == ["localhost", "127.0.0.1", "[::1]"]
    assert ServerSettings(host="10.0.0.7", hosts=("a.example",)).trusted_hosts == [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "10.0.0.7",
        "a.example",
    ]
