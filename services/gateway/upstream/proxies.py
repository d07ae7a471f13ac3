"""Which proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`, …) stands before an address.

aiohttp would ask the environment again for every request, which costs more than the rest of it.
"""

from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

_MAX_ADDRESSES = 1_000


@lru_cache(maxsize=_MAX_ADDRESSES)
def proxy_for(base_url: str) -> str | None:
    """The proxy's URL, None for a direct connection. The environment is read once per address."""
    parts = urlsplit(base_url)
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme)
    if proxy is None or proxy_bypass(parts.netloc):
        return None
    return proxy
