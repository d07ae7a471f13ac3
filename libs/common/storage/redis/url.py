"""REDIS_URL: one server, the master that Redis Sentinel names, or a Redis Cluster.

    redis+sentinel://[[user]:password@]host[:26379][,host2[:port]…]/master[/db][?options]
    redis+cluster://[[user]:password@]host[:6379][,host2[:port]…][?options]
    rediss+sentinel://…, rediss+cluster://…    with TLS, to the sentinels too

The form is that of limits, docket and others. User and password are the servers'; those of the
sentinels are the options `sentinel_username` and `sentinel_password`. A cluster's option `shards`
is the number of parts into which its accounts are divided. All other options are redis-py's for
TLS.
"""

import re
import ssl
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from redis.asyncio.connection import parse_url, to_bool

from libs.common.settings import SettingsError
from libs.common.storage.redis.shards import MAX_SHARDS

_SENTINEL_PORT = 26379
_SERVER_PORT = 6379
# Equal parts for one, two, three and six masters; each more costs every call (docs/scale.md).
_SHARDS = 6
_MAX_PORT = 65_535
_TLS_OPTIONS = frozenset(
    {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)
# An IPv6 address is in brackets.
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@\s]+))(?::(?P<port>.*))?")
# The characters that Sentinel allows in a name.
_MASTER = re.compile(r"[A-Za-z0-9._-]+")


class SentinelUrl(msgspec.Struct, frozen=True, kw_only=True):
    """The options are redis-py's arguments for connections to the master and to the sentinels."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    tls: bool
    options: dict[str, Any]
    sentinel_options: dict[str, Any]

    def __repr__(self) -> str:
        # The options hold passwords.
        return f"SentinelUrl({self.sentinels}, {self.master!r})"


class ClusterUrl(msgspec.Struct, frozen=True, kw_only=True):
    """`nodes` are asked where the others are. The options are redis-py's arguments."""

    nodes: tuple[tuple[str, int], ...]
    tls: bool
    shards: int
    options: dict[str, Any]

    def __repr__(self) -> str:
        return f"ClusterUrl({self.nodes}, shards={self.shards})"


class WrongRedisUrl(ValueError):
    """The message never repeats the URL, which may hold a password."""


def check_redis_url(url: str) -> None:
    """Raises SettingsError for an invalid URL."""
    try:
        _check_files(_options_of(url))
    except WrongRedisUrl as error:
        raise SettingsError(f"REDIS_URL is wrong: {error}") from None
    except ValueError:
        raise SettingsError(
            "REDIS_URL is wrong: it must be redis://host:port/db, rediss://…, unix://…, "
            "redis+sentinel://host:port,…/master/db or redis+cluster://host:port,…"
        ) from None


def _options_of(url: str) -> dict[str, Any]:
    if is_cluster_url(url):
        return parse_cluster_url(url).options
    return parse_sentinel_url(url).options if is_sentinel_url(url) else dict(parse_url(url))


def _check_files(options: dict[str, Any]) -> None:
    """redis-py would read them at each connection, and tell of an unavailable server."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    option = "ssl_ca_certs"
    try:
        if authorities := options.get(option):
            tls.load_verify_locations(authorities)
        option = "ssl_certfile"
        if certificate := options.get(option):
            # Without a password, OpenSSL would ask the terminal for that of a key that has one.
            password = options.get("ssl_password", "")
            tls.load_cert_chain(certificate, options.get("ssl_keyfile"), password)
    except OSError as error:
        # ssl.SSLError is one.
        raise WrongRedisUrl(f"the file of {option} cannot be used ({error.strerror})") from None


def is_sentinel_url(url: str) -> bool:
    return url.partition("://")[0].lower() in ("redis+sentinel", "rediss+sentinel")


def is_cluster_url(url: str) -> bool:
    return url.partition("://")[0].lower() in ("redis+cluster", "rediss+cluster")


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Raises WrongRedisUrl."""
    parts = _Parts(url)
    master, db = _master_and_db(parts.path)
    given = parts.given
    sentinel_login = _login(given.pop("sentinel_username", ""), given.pop("sentinel_password", ""))
    tls_options = parts.tls_options("sentinel_username", "sentinel_password")
    return SentinelUrl(
        sentinels=parts.hosts("sentinel", _SENTINEL_PORT),
        master=master,
        tls=parts.tls,
        options={"db": db, **parts.login, **tls_options},
        sentinel_options={**sentinel_login, **tls_options},
    )


def parse_cluster_url(url: str) -> ClusterUrl:
    """Raises WrongRedisUrl."""
    parts = _Parts(url)
    if parts.path.strip("/") not in ("", "0"):
        raise WrongRedisUrl("a cluster has only database 0: end the address with its last host")
    shards = parts.given.pop("shards", str(_SHARDS))
    if not _is_number(shards, MAX_SHARDS):
        raise WrongRedisUrl(f"shards must be a number from 1 to {MAX_SHARDS}")
    return ClusterUrl(
        nodes=parts.hosts("node", _SERVER_PORT),
        tls=parts.tls,
        shards=int(shards),
        options={**parts.login, **parts.tls_options("shards")},
    )


class _Parts:
    """Of a URL that names several hosts. `given` are the options, each taken out as it is read."""

    def __init__(self, url: str) -> None:
        self.scheme, _, rest = url.partition("://")
        address, _, query = rest.partition("?")
        authority, _, self.path = address.partition("/")
        userinfo, _, self._hosts = authority.rpartition("@")
        username, _, password = userinfo.partition(":")
        self.login = _login(unquote(username), unquote(password))
        self.tls = self.scheme.lower().startswith("rediss")
        self.given = dict(parse_qsl(query, keep_blank_values=True))

    def hosts(self, noun: str, default_port: int) -> tuple[tuple[str, int], ...]:
        return tuple(_host(text, noun, default_port) for text in self._hosts.split(","))

    def tls_options(self, *others: str) -> dict[str, Any]:
        """With redis-py's types. `others` are the options besides."""
        options: dict[str, Any] = self.given
        if options.keys() - _TLS_OPTIONS:
            known = ", ".join(sorted({*others, *_TLS_OPTIONS}))
            raise WrongRedisUrl(f"it has unknown options; the known ones are {known}")
        if options and not self.tls:
            raise WrongRedisUrl(
                f"TLS options need {self.scheme.lower().replace('redis+', 'rediss+')}://"
            )
        if "ssl_check_hostname" in options:
            options["ssl_check_hostname"] = to_bool(options["ssl_check_hostname"])
        return options


def _host(text: str, noun: str, default_port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise WrongRedisUrl(f"its {noun}s must be host[:port], separated by commas")
    port = found["port"] if found["port"] is not None else str(default_port)
    if not _is_number(port, _MAX_PORT):
        raise WrongRedisUrl(f"a {noun}'s port must be a number from 1 to {_MAX_PORT}")
    return found["v6"] or found["name"], int(port)


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= most


def _master_and_db(path: str) -> tuple[str, int]:
    master, _, db = unquote(path).removesuffix("/").partition("/")
    if not _MASTER.fullmatch(master):
        raise WrongRedisUrl("the path must name the sentinels' master, as in …:26379/mymaster")
    if not db:
        return master, 0
    if not (db.isascii() and db.isdecimal() and len(db) < 6):
        raise WrongRedisUrl("the master's name must be followed by the number of a database")
    return master, int(db)


def _login(username: str, password: str) -> dict[str, str]:
    login = {"username": username, "password": password}
    return {name: value for name, value in login.items() if value}
