"""Where messages may be sent."""

import ipaddress
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from libs.common.settings import SettingsError
from libs.common.web.destinations import DestinationRefused, Destinations, allowed_hosts, is_public

METADATA = "169.254.169.254"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        METADATA,
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        f"::ffff:{METADATA}",
        f"64:ff9b::{METADATA}",
        "2002:a9fe:a9fe::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://hooks.example/", "must be an http or https URL"),
        ("hooks.example", "must be an http or https URL"),
        ("https://", "must be an http or https URL"),
        ("https://[::1", "must be an http or https URL"),
        ("https://hooks.example:0/", "must be an http or https URL"),
        ("https://hooks.example:x/", "must be an http or https URL"),
        ("https://hooks.example/\r\nhost: other", "must be an http or https URL"),
        ("https://höoks.example/", "must be an http or https URL"),
        ("https://hooks.example/" + "a" * 2000, "must be an http or https URL"),
        ("https://user:password@hooks.example/", "credentials"),
        ("https://hooks.example/#part", "fragment"),
        ("http://hooks.example/", "must be https"),
        (f"https://{METADATA}/latest/meta-data/", "public address"),
        ("https://[::ffff:10.0.0.1]/", "public address"),
        ("http://inside.example:81/", "must be https"),
    ],
)
def test_urls_that_are_refused(url: str, problem: str) -> None:
    found = Destinations(["inside.example:80"]).problem(url)
    assert found is not None
    assert problem in found


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/a?b=c",
        "http://inside.example/",
        "http://INSIDE.example:80/",
        "https://8.8.8.8/",
        "http://10.0.0.1:9000/",
    ],
)
def test_urls_that_are_taken(url: str) -> None:
    assert Destinations(["Inside.example:80", "10.0.0.1"]).problem(url) is None


async def test_names_of_private_addresses_are_refused_when_they_are_asked() -> None:
    """A name may point elsewhere by the time that a message is sent."""
    with pytest.raises(DestinationRefused, match="no public address"):
        await Destinations().addresses("https://localhost/")
    with pytest.raises(DestinationRefused, match="must be https"):
        await Destinations().addresses("http://localhost/")
    assert "127.0.0.1" in await Destinations(["localhost"]).addresses("http://localhost/")
    # Another spelling of an address is resolved, and then refused.
    with pytest.raises(DestinationRefused, match="no public address"):
        await Destinations().addresses("https://2130706433/")


def test_the_setting() -> None:
    assert allowed_hosts(" a.example , b.example:81,") == ["a.example", "b.example:81"]
    assert allowed_hosts("") == []
    for text in ("https://a.example", "a b", "a/é"):
        with pytest.raises(SettingsError, match="ALERT_ALLOWED_HOSTS"):
            allowed_hosts(text)


class Resolver(Executor):
    """Answers each name with these addresses."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    def submit(self, fn: Any, /, *arguments: Any, **keywords: Any) -> Future[Any]:
        found: Future[Any] = Future()
        found.set_result([(0, 0, 0, "", (address, 443)) for address in self._addresses])
        return found


async def test_of_a_names_addresses_only_the_public_ones_are_asked() -> None:
    resolver = Resolver("10.0.0.1", "8.8.8.8", "8.8.8.8", METADATA)
    assert await Destinations((), resolver).addresses("https://hooks.example/") == ["8.8.8.8"]
    addresses = await Destinations(["hooks.example"], resolver).addresses("https://hooks.example/")
    assert addresses == ["10.0.0.1", "8.8.8.8", METADATA]
