"""REDIS_URL: one server, or the master that Redis Sentinel names.

    redis+sentinel://[[user]:password@]host[:26379][,host2[:port]…]/master[/db][?options]
    rediss+sentinel://…    with TLS, to the sentinels too

The form is that of limits, docket and others. User and password are the servers'; those of the
sentinels are the options `sentinel_username` and `sentinel_password`. All other options are
redis-py's for TLS.
"""

import re
import ssl
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec
from redis.asyncio.connection import parse_url, to_bool

from libs.common.settings import SettingsError

_SENTINEL_PORT = 26379
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


class WrongRedisUrl(ValueError):
    """The message never repeats the URL, which may hold a password."""


def check_redis_url(url: str) -> None:
    """Raises SettingsError for an invalid URL."""
    try:
        is_sentinel = is_sentinel_url(url)
        _check_files(parse_sentinel_url(url).options if is_sentinel else dict(parse_url(url)))
    except WrongRedisUrl as error:
        raise SettingsError(f"REDIS_URL is wrong: {error}") from None
    except ValueError:
        raise SettingsError(
            "REDIS_URL is wrong: it must be redis://host:port/db, rediss://…, unix://… or "
            "redis+sentinel://host:port,…/master/db"
        ) from None


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


def parse_sentinel_url(url: str) -> SentinelUrl:
    """Raises WrongRedisUrl."""
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    authority, _, path = address.partition("/")
    userinfo, _, hosts = authority.rpartition("@")
    tls = scheme.lower() == "rediss+sentinel"
    master, db = _master_and_db(path)
    tls_options, sentinel_options = _options(query, tls=tls)
    username, _, password = userinfo.partition(":")
    return SentinelUrl(
        sentinels=tuple(_host(text) for text in hosts.split(",")),
        master=master,
        tls=tls,
        options={"db": db, **_login(unquote(username), unquote(password)), **tls_options},
        sentinel_options={**sentinel_options, **tls_options},
    )


def _host(text: str) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None:
        raise WrongRedisUrl("its sentinels must be host[:port], separated by commas")
    port = found["port"] if found["port"] is not None else str(_SENTINEL_PORT)
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _MAX_PORT):
        raise WrongRedisUrl(f"a sentinel's port must be a number from 1 to {_MAX_PORT}")
    return found["v6"] or found["name"], int(port)


def _master_and_db(path: str) -> tuple[str, int]:
    master, _, db = unquote(path).removesuffix("/").partition("/")
    if not _MASTER.fullmatch(master):
        raise WrongRedisUrl("the path must name the sentinels' master, as in …:26379/mymaster")
    if not db:
        return master, 0
    if not (db.isascii() and db.isdecimal() and len(db) < 6):
        raise WrongRedisUrl("the master's name must be followed by the number of a database")
    return master, int(db)


def _options(query: str, *, tls: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The TLS options, with redis-py's types, and the sentinels' login."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    login = _login(given.pop("sentinel_username", ""), given.pop("sentinel_password", ""))
    if given.keys() - _TLS_OPTIONS:
        known = ", ".join(sorted({"sentinel_username", "sentinel_password", *_TLS_OPTIONS}))
        raise WrongRedisUrl(f"it has unknown options; the known ones are {known}")
    if given and not tls:
        raise WrongRedisUrl("TLS options need rediss+sentinel://")
    tls_options: dict[str, Any] = dict(given)
    if "ssl_check_hostname" in given:
        tls_options["ssl_check_hostname"] = to_bool(given["ssl_check_hostname"])
    return tls_options, login


def _login(username: str, password: str) -> dict[str, str]:
    login = {"username": username, "password": password}
    return {name: value for name, value in login.items() if value}
