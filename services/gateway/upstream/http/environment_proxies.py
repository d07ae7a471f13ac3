"""Finds an address's proxy in the environment (`HTTPS_PROXY`, `NO_PROXY`, …)."""

from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass


def proxy_for(address: str) -> str | None:
    """The proxy's URL, None for a direct connection."""
    parts = urlsplit(address)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme)
    if proxy is None or proxy_bypass(parts.netloc):
        return None
    return proxy
