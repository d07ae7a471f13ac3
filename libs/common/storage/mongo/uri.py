"""MONGO_URI: which of its options the client takes, which it pins and which it refuses.

The promises need reads of the primary that no failover takes back, and writes that a majority has
on its disks and that the driver may repeat. A URI that asks for less gets this all the same, so
that a service's standard string works; one that says that the server cannot do it is refused.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

# By their names in lower case, as the driver compares them.
_PINNED: dict[str, Any] = {
    "readPreference": "primary",
    "readConcernLevel": "majority",
    "w": "majority",
    "journal": True,
    "retryWrites": True,
    "tz_aware": True,
}
# Parts of the above; how values are decoded, where the stores rely on the driver's defaults; and
# the time that an operation may take, which each service sets.
_DROPPED = frozenset(
    {
        *("readpreferencetags", "maxstalenessseconds", "fsync", "wtimeoutms", "wtimeout"),
        *("uuidrepresentation", "unicode_decode_error_handler", "datetime_conversion"),
        "timeoutms",
    }
)
_SELECTION_TIMEOUT_MS = 2_000
_DEFAULTS: dict[str, Any] = {
    "serverSelectionTimeoutMS": _SELECTION_TIMEOUT_MS,
    "connectTimeoutMS": _SELECTION_TIMEOUT_MS,
    "maxPoolSize": 50,
    "appname": "litellm-gateway",
}


_OIDC_ENVIRONMENTS = ("k8s", "azure", "gcp")
_FILES = ("tlscafile", "tlscertificatekeyfile", "tlscrlfile")


class WrongMongoUri(ValueError):
    """The message never repeats the URI, which may hold a password."""


def client_options(uri: str) -> tuple[str, dict[str, Any]]:
    """What the driver's client takes. Raises WrongMongoUri for what cannot be honoured."""
    address, _, query = uri.partition("?")
    pinned = {name.lower() for name in _PINNED} | _DROPPED
    kept, params = [], {}
    for pair in query.replace(";", "&").split("&"):
        name, _, value = pair.partition("=")
        params[name.lower()] = unquote_plus(value)
        if name.lower() not in pinned:
            kept.append(pair)
    _check(params)
    defaults = {name: value for name, value in _DEFAULTS.items() if name.lower() not in params}
    options = "&".join(kept)
    return f"{address}?{options}" if options else address, {**defaults, **_PINNED}


def _check(params: dict[str, str]) -> None:
    for path in filter(None, map(params.get, _FILES)):
        try:
            Path(path).open("rb").close()
        except OSError as error:
            raise WrongMongoUri(f"the file {path} cannot be read ({error.strerror})") from None
    if params.get("retrywrites", "").lower() == "false":
        raise WrongMongoUri(
            "it says retryWrites=false, and the ledger needs retryable writes: leave it out; a "
            "service without them (as Amazon DocumentDB) is not supported"
        )
    if params.get("maxpoolsize") == "0":
        raise WrongMongoUri("maxPoolSize=0 would open connections without a bound")
    match params.get("authmechanism", "").upper():
        case "MONGODB-AWS" if find_spec("pymongo_auth_aws") is None:
            raise WrongMongoUri(
                "authMechanism=MONGODB-AWS needs the package pymongo-auth-aws, which is not "
                "installed"
            )
        case "MONGODB-OIDC":
            _check_oidc(params.get("authmechanismproperties", ""))


def _check_oidc(properties: str) -> None:
    """The driver fetches a token where the process runs, and nobody is there to log in."""
    values = dict(pair.partition(":")[::2] for pair in properties.split(","))
    environment = values.get("ENVIRONMENT", "")
    if environment not in _OIDC_ENVIRONMENTS:
        raise WrongMongoUri(
            "authMechanism=MONGODB-OIDC needs authMechanismProperties=ENVIRONMENT:k8s, or "
            "ENVIRONMENT:azure or gcp with TOKEN_RESOURCE"
        )
    if environment != "k8s" and not values.get("TOKEN_RESOURCE"):
        raise WrongMongoUri(
            f"authMechanismProperties=ENVIRONMENT:{environment} needs TOKEN_RESOURCE as well, "
            "for which the token is made out"
        )
