"""The types of route fields, each with its bounds."""

import re
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from libs.common.schemas.route import NOT_FOR_PROVIDERS
from libs.common.schemas.usage import ClientFormat
from services.admin.fields import described
from services.admin.validation import FieldRule

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_SECRET_FILE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MAX_URL = 2048


def _api_base(value: str, _: datetime) -> str | None:
    if len(value) > _MAX_URL or not value.isascii() or not value.isprintable() or " " in value:
        return f"must be at most {_MAX_URL} printable ASCII characters without spaces"
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError as error:
        return f"is not a URL: {error}"
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        return "must be an http or https URL with a host"
    if "@" in url.netloc:
        return "must not hold credentials: a deployment's `credential` names them"
    return "must have no query and no fragment" if "?" in value or "#" in value else None


def _credential(value: str, _: datetime) -> str | None:
    kind, _colon, name = value.partition(":")
    if kind == "env" and _VARIABLE.fullmatch(name):
        if name in NOT_FOR_PROVIDERS:
            return f"{name} is the gateway's own and not for a provider"
        return None
    if kind == "file" and _SECRET_FILE.fullmatch(name) and name.strip("."):
        return None
    return "must be env:NAME (capitals, digits, _) or file:NAME (letters, digits, . _ -)"


def _formats(values: tuple[str, ...], _: datetime) -> str | None:
    return None if len(set(values)) == len(values) else "names a format twice"


ApiBase = Annotated[
    str, described(pattern="^https?://[^?#@ ]+$", maxLength=_MAX_URL), FieldRule(_api_base)
]
Credential = Annotated[
    str,
    described(pattern=f"^(env:{_VARIABLE.pattern}|file:{_SECRET_FILE.pattern})$"),
    FieldRule(_credential),
]
Formats = Annotated[tuple[ClientFormat, ...], FieldRule(_formats)]
Weight = Annotated[int, Meta(ge=1, le=1000)]
Priority = Annotated[int, Meta(ge=0, le=100)]
ParallelCalls = Annotated[int, Meta(ge=1, le=100_000)]
Timeout = Annotated[float, Meta(gt=0, le=3600)]
MaxAttempts = Annotated[int, Meta(ge=1, le=10)]
FailureCount = Annotated[int, Meta(ge=1, le=100)]
CooldownTime = Annotated[int, Meta(ge=0, le=3600)]
