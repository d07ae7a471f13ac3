"""The kinds of fields that requests have, each with its bounds."""

import re
from datetime import datetime
from decimal import Context, Decimal
from typing import Annotated

from msgspec import Meta

from libs.common.domain.money import MAX_NUSD, nusd_to_usd, usd_to_nusd
from libs.common.domain.periods import zone_of
from services.admin.decoding import Rule

# Part of Redis keys and MongoDB ids: no braces, no pipes.
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}")
_PROVIDER = re.compile(r"\*|[a-z0-9][a-z0-9._-]{0,63}")
_METADATA_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:/-]{0,63}")
_MAX_METADATA = 32
_MAX_METADATA_VALUE = 512
_MAX_RATE_USD = 1_000_000
_RATE_DECIMALS = 12
_FINEST_RATE = Decimal(1).scaleb(-_RATE_DECIMALS)
_ROUNDING = Context(prec=60)
_MAX_MODEL = 256


def _user_id(value: str, _: datetime) -> str | None:
    if _USER_ID.fullmatch(value):
        return None
    return "must be 1 to 128 letters, digits or . _ @ : + -, and start with a letter or digit"


def _provider(value: str, _: datetime) -> str | None:
    if _PROVIDER.fullmatch(value):
        return None
    return "must be * or a provider's name in lower case, such as openai"


def model_problem(value: str) -> str | None:
    """What is wrong with the name of a model, or None."""
    if 0 < len(value) <= _MAX_MODEL and value.isprintable() and value == value.strip():
        return None
    return f"must be 1 to {_MAX_MODEL} printable characters without spaces around them"


def _model(value: str, _: datetime) -> str | None:
    return model_problem(value)


def _models(values: tuple[str, ...], _: datetime) -> str | None:
    for place, value in enumerate(values):
        problem = model_problem(value)
        if problem is not None:
            return f"item {place} {problem}"
    return None if len(set(values)) == len(values) else "names a model twice"


def _text(value: str, _: datetime) -> str | None:
    return None if value.isprintable() else "must consist of printable characters"


def _metadata(value: dict[str, str], _: datetime) -> str | None:
    if len(value) > _MAX_METADATA:
        return f"has more than {_MAX_METADATA} pairs"
    for key, text in value.items():
        if not _METADATA_KEY.fullmatch(key):
            return f"key {key[:64]!r} must be 1 to 64 letters, digits or _ : / -"
        if len(text) > _MAX_METADATA_VALUE:
            return f"value of {key!r} is longer than {_MAX_METADATA_VALUE} characters"
    return None


def _limit_usd(value: Decimal, _: datetime) -> str | None:
    if not value.is_finite():
        return "must be a finite number"
    if not 0 <= value <= nusd_to_usd(MAX_NUSD):
        return f"must be between 0 and {nusd_to_usd(MAX_NUSD)}"
    try:
        usd_to_nusd(value)
    except ValueError as error:
        return str(error)
    return None


def _rate(value: Decimal, _: datetime) -> str | None:
    if not value.is_finite():
        return "must be a finite number"
    if not 0 <= value <= _MAX_RATE_USD:
        return f"must be between 0 and {_MAX_RATE_USD}"
    # Within the bounds above, only digits after the last decimal are lost here.
    if value != value.quantize(_FINEST_RATE, context=_ROUNDING):
        return f"must have at most {_RATE_DECIMALS} decimals"
    return None


def _time_zone(value: str, _: datetime) -> str | None:
    try:
        zone_of(value)
    except ValueError as error:
        return str(error)
    return None


def _future(value: datetime, now: datetime) -> str | None:
    return None if value > now else "must lie in the future"


def _nonempty(values: tuple[str, ...], _: datetime) -> str | None:
    return None if values else "must name at least one model; null allows every model"


UserId = Annotated[str, Rule(_user_id)]
Name = Annotated[str, Meta(max_length=256), Rule(_text)]
Metadata = Annotated[dict[str, str], Rule(_metadata)]
LimitUsd = Annotated[Decimal, Rule(_limit_usd)]
Rate = Annotated[Decimal, Rule(_rate)]
Model = Annotated[str, Rule(_model)]
Provider = Annotated[str, Rule(_provider)]
Aliases = Annotated[tuple[str, ...], Meta(max_length=32), Rule(_models)]
AllowedModels = Annotated[tuple[str, ...], Meta(max_length=256), Rule(_nonempty), Rule(_models)]
TimeZone = Annotated[str, Rule(_time_zone)]
Time = Annotated[datetime, Meta(tz=True)]
FutureTime = Annotated[datetime, Meta(tz=True), Rule(_future)]
TokenCount = Annotated[int, Meta(ge=0, le=1_000_000_000)]
OutputLimit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
PageSize = Annotated[int, Meta(ge=1, le=200)]
Cursor = Annotated[str, Meta(min_length=1, max_length=256), Rule(_text)]
