"""Where messages may be sent, so that nobody who may name a URL reaches what only we can reach.

Invariant: a host that is not allowed by name is asked over https, and at public addresses alone.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import Executor
from functools import partial
from urllib.parse import SplitResult, urlsplit

from libs.common.settings import SettingsError, is_line

MAX_URL_CHARS = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Addresses of IPv4 hosts, as a translator (RFC 6052) is asked for them.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class DestinationRefused(Exception):
    """Why nothing is sent to a URL."""


class Destinations:
    """`allowed` are hosts, each as `host` (any port) or `host:port`.

    Addresses are looked up in the threads of `resolver`, since a name may take long.
    """

    def __init__(self, allowed: Iterable[str] = (), resolver: Executor | None = None) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)
        self._resolver = resolver

    def problem(self, url: str) -> str | None:
        """What is wrong with a URL, as far as it shows without asking for addresses."""
        parts = _parts(url)
        if parts is None:
            return f"must be an http or https URL of at most {MAX_URL_CHARS} characters"
        if "@" in parts.netloc or parts.fragment:
            return "must hold no credentials and no fragment"
        if self._names(parts):
            return None
        if parts.scheme != "https":
            return "must be https, unless ALERT_ALLOWED_HOSTS names its host"
        try:
            address = ipaddress.ip_address(parts.hostname or "")
        except ValueError:
            return None
        return None if is_public(address) else "must be a public address, unless allowed by name"

    async def addresses(self, url: str) -> list[str]:
        """The addresses that may be asked. Raises DestinationRefused, and OSError without any."""
        problem = self.problem(url)
        parts = _parts(url)
        if problem is not None or parts is None:
            raise DestinationRefused(f"the URL {problem}")
        ask = partial(socket.getaddrinfo, parts.hostname, port_of(parts), type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._resolver, ask)
        addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
        if self._names(parts):
            return addresses
        public = [text for text in addresses if is_public(ipaddress.ip_address(text))]
        if not public:
            raise DestinationRefused(
                "its host has no public address and is not in ALERT_ALLOWED_HOSTS"
            )
        return public

    def _names(self, parts: SplitResult) -> bool:
        host = (parts.hostname or "").lower()
        return host in self._allowed or f"{host}:{port_of(parts)}" in self._allowed


def port_of(parts: SplitResult) -> int:
    return parts.port or _DEFAULT_PORTS[parts.scheme]


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Neither private, loopback, link-local (where clouds keep credentials) nor reserved."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def allowed_hosts(text: str) -> list[str]:
    """Of the setting, a list with commas. Raises SettingsError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if "/" in name or " " in name or not is_line(name):
            message = "it must be hosts, or host:port, separated by commas"
            raise SettingsError(f"ALERT_ALLOWED_HOSTS is wrong: {message}")
    return names


def _parts(url: str) -> SplitResult | None:
    if len(url) > MAX_URL_CHARS or not is_line(url) or " " in url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None
