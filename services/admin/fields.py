"""The kinds of fields that requests have, each with its bounds."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta

from libs.common.domain.ids import SECRET_PREFIX
from libs.common.domain.money import MAX_NUSD, nusd_to_usd, usd_to_nusd
from libs.common.domain.periods import PERIOD_KEY, period_bounds, zone_of
from libs.common.domain.pricing import MAX_MULTIPLIER, multiplier_problem
from libs.common.domain.tags import is_tag
from libs.common.domain.tool_fees import WEB_SEARCH
from libs.common.schemas.recording import MAX_RETENTION_DAYS
from libs.common.schemas.route import NOT_FOR_PROVIDERS
from libs.common.schemas.usage import MAX_OBJECT_ID_CHARS, ClientFormat
from services.admin.validation import Rule

# Part of Redis keys and MongoDB ids: no braces, no pipes.
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}")
_PROVIDER = re.compile(r"\*|[a-z0-9][a-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,127}")
_SECRET_FILE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SURCHARGE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_KEY_PREFIX = re.compile(rf"{SECRET_PREFIX}[A-Za-z0-9_-]{{6}}")
_MAX_SURCHARGES = 16
_MAX_TOOL_FEES = 32
_METADATA_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:/-]{0,63}")
_MAX_METADATA = 32
_MAX_METADATA_VALUE = 512
_MAX_RATE_USD = 1_000_000
_RATE_DECIMALS = 12
_FINEST_RATE = Decimal(1).scaleb(-_RATE_DECIMALS)
_ROUNDING = Context(prec=60)
_MAX_MODEL = 256
_MAX_URL = 2048
# Files beside the zones, which MongoDB does not have; those of `right/` count leap seconds.
_OWN_ZONE = re.compile(r"(?:posix|right)/|posixrules$|localtime$|Factory$")
_FIRST_YEAR, _LAST_YEAR = 1970, 2999


def user_id_problem(value: str) -> str | None:
    """What is wrong with the id of an account, or None."""
    if _USER_ID.fullmatch(value):
        return None
    return "must be 1 to 128 letters, digits or . _ @ : + -, and start with a letter or digit"


def _user_id(value: str, _: datetime) -> str | None:
    return user_id_problem(value)


def provider_problem(value: str) -> str | None:
    """What is wrong with the name of a provider, or None."""
    if _PROVIDER.fullmatch(value):
        return None
    return "must be * or a provider's name in lower case, such as openai"


def _provider(value: str, _: datetime) -> str | None:
    return provider_problem(value)


def model_problem(value: str) -> str | None:
    """What is wrong with the name of a model, or None."""
    if 0 < len(value) <= _MAX_MODEL and value.isprintable() and value == value.strip():
        return None
    return f"must be 1 to {_MAX_MODEL} printable characters without spaces around them"


def _model(value: str, _: datetime) -> str | None:
    return model_problem(value)


def _route(value: str, now: datetime) -> str | None:
    # A path with such a name at its end leads elsewhere.
    if value.strip("/") != value or value in (".", ".."):
        return "must not begin or end with a slash, nor be . or .."
    return _model(value, now)


def _models(values: tuple[str, ...], _: datetime) -> str | None:
    for place, value in enumerate(values):
        problem = model_problem(value)
        if problem is not None:
            return f"item {place} {problem}"
    return None if len(set(values)) == len(values) else "names a model twice"


def _provider_objects(values: tuple[str, ...], _: datetime) -> str | None:
    for place, value in enumerate(values):
        if not (0 < len(value) <= MAX_OBJECT_ID_CHARS and value.isascii() and value.isprintable()):
            return f"item {place} must be 1 to {MAX_OBJECT_ID_CHARS} printable ASCII characters"
        if " " in value:
            return f"item {place} must have no spaces"
    return None if len(set(values)) == len(values) else "names an object twice"


def _text(value: str, _: datetime) -> str | None:
    return None if value.isprintable() else "must consist of printable characters"


def metadata_problem(value: Mapping[str, str | None]) -> str | None:
    """What is wrong with metadata, or with changes of it, or None."""
    if len(value) > _MAX_METADATA:
        return f"has more than {_MAX_METADATA} pairs"
    for key, text in value.items():
        if not _METADATA_KEY.fullmatch(key):
            return f"key {key[:64]!r} must be 1 to 64 letters, digits or _ : / -"
        if text is not None and len(text) > _MAX_METADATA_VALUE:
            return f"value of {key!r} is longer than {_MAX_METADATA_VALUE} characters"
    return None


def _metadata(value: Mapping[str, str | None], _: datetime) -> str | None:
    return metadata_problem(value)


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


def _multiplier(value: Decimal, _: datetime) -> str | None:
    return multiplier_problem(value)


def _surcharges(factors: dict[str, Decimal], _: datetime) -> str | None:
    if len(factors) > _MAX_SURCHARGES:
        return f"has more than {_MAX_SURCHARGES} of them"
    for name, factor in factors.items():
        if not _SURCHARGE.fullmatch(name):
            return f"name {name[:64]!r} must be 1 to 64 lower-case letters, digits or _ -"
        problem = multiplier_problem(factor)
        if problem is not None:
            return f"{name!r} {problem}"
    return None


def _tool_fees(fees: dict[str, Decimal], now: datetime) -> str | None:
    if len(fees) > _MAX_TOOL_FEES:
        return f"has more than {_MAX_TOOL_FEES} of them"
    for name, fee in fees.items():
        if not _SURCHARGE.fullmatch(name):
            return f"name {name[:64]!r} must be 1 to 64 lower-case letters, digits or _ -"
        if name == WEB_SEARCH:
            return f"{name!r} is set by web_search_cost"
        problem = _rate(fee, now)
        if problem is not None:
            return f"{name!r} {problem}"
    return None


def _region(value: str, _: datetime) -> str | None:
    if _SURCHARGE.fullmatch(value):
        return None
    return "must be 1 to 64 lower-case letters, digits or _ -, such as eu or us-east5"


def time_zone_problem(value: str) -> str | None:
    """What is wrong with the name of a time zone, or None."""
    if _OWN_ZONE.match(value):
        return "must be of the IANA database, such as Europe/Berlin: the system's names are its own"
    try:
        zone_of(value)
    except ValueError as error:
        return str(error)
    return None


def _time_zone(value: str, _: datetime) -> str | None:
    return time_zone_problem(value)


def _in_calendar(value: datetime, _: datetime) -> str | None:
    try:
        value.astimezone(UTC)
    except OverflowError:
        return "must lie in the years 1 to 9999 of UTC"
    return None


def _period(value: str, _: datetime) -> str | None:
    try:
        period_bounds(value)
    except ValueError as error:
        return str(error)
    return None


def _future(value: datetime, now: datetime) -> str | None:
    return None if value > now else "must lie in the future"


def _nonempty(values: tuple[str, ...], _: datetime) -> str | None:
    return None if values else "must name at least one model; null allows every model"


def _routed_model(value: str, _: datetime) -> str | None:
    provider, _slash, model = value.partition("/")
    if _PROVIDER.fullmatch(provider) and provider != "*" and model:
        return model_problem(value)
    return "must be provider/model, such as openai/gpt-4o"


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


def _day(value: date, _: datetime) -> str | None:
    # Beyond them, calendars with time zones have no days.
    return None if _FIRST_YEAR <= value.year <= _LAST_YEAR else "must be in 1970 to 2999"


def _tag(value: str, _: datetime) -> str | None:
    return None if is_tag(value) else "must be a tag as calls have them: name or name:value"


def _key_prefix(value: str, _: datetime) -> str | None:
    if _KEY_PREFIX.fullmatch(value):
        return None
    # Whoever has the whole secret must not put it into a URL.
    return "must be the 12 characters that the prefix of a key shows, such as sk-gw-a1B2c3"


def _as(**schema: Any) -> Meta:
    """How the API's description tells of a rule."""
    return Meta(extra_json_schema=schema)


def _whole(pattern: re.Pattern[str]) -> str:
    """For JSON Schema, where a pattern may match anywhere."""
    return f"^(?:{pattern.pattern})$"


_NANO = "USD, with at most 9 decimals"
_PICO = f"USD, with at most {_RATE_DECIMALS} decimals"
_MULTIPLIER = _as(minimum=0, maximum=MAX_MULTIPLIER, description="With at most 6 decimals")
_SURCHARGE_NAME = {"pattern": _whole(_SURCHARGE)}

UserId = Annotated[str, _as(pattern=_whole(_USER_ID)), Rule(_user_id)]
Name = Annotated[str, Meta(max_length=256), Rule(_text)]
Reason = Annotated[str, Meta(min_length=1, max_length=500), Rule(_text)]
_PAIRS = _as(maxProperties=_MAX_METADATA, propertyNames={"pattern": _whole(_METADATA_KEY)})
_MetadataValue = Annotated[str, _as(maxLength=_MAX_METADATA_VALUE)]
Metadata = Annotated[dict[str, _MetadataValue], _PAIRS, Rule(_metadata)]
MetadataChanges = Annotated[dict[str, _MetadataValue | None], _PAIRS, Rule(_metadata)]
LimitUsd = Annotated[
    Decimal,
    _as(minimum=0, maximum=float(nusd_to_usd(MAX_NUSD)), description=_NANO),
    Rule(_limit_usd),
]
Rate = Annotated[Decimal, _as(minimum=0, maximum=_MAX_RATE_USD, description=_PICO), Rule(_rate)]
Multiplier = Annotated[Decimal, _MULTIPLIER, Rule(_multiplier)]
ToolFees = Annotated[
    dict[str, Annotated[Decimal, _as(minimum=0, maximum=_MAX_RATE_USD)]],
    _as(maxProperties=_MAX_TOOL_FEES, propertyNames=_SURCHARGE_NAME),
    Rule(_tool_fees),
]
Surcharges = Annotated[
    dict[str, Annotated[Decimal, _MULTIPLIER]],
    _as(maxProperties=_MAX_SURCHARGES, propertyNames=_SURCHARGE_NAME),
    Rule(_surcharges),
]
_ModelName = Annotated[str, _as(minLength=1, maxLength=_MAX_MODEL)]
Model = Annotated[
    str,
    _as(minLength=1, maxLength=_MAX_MODEL, description="Printable, without spaces around it"),
    Rule(_model),
]
RouteName = Annotated[
    str,
    _as(minLength=1, maxLength=_MAX_MODEL, description="Printable, without spaces around it"),
    Rule(_route),
]
Provider = Annotated[str, _as(pattern=_whole(_PROVIDER)), Rule(_provider)]
Region = Annotated[str, _as(pattern=_whole(_SURCHARGE)), Rule(_region)]
Aliases = Annotated[tuple[_ModelName, ...], Meta(max_length=32), Rule(_models)]
AllowedModels = Annotated[
    tuple[_ModelName, ...],
    Meta(max_length=256, extra_json_schema={"minItems": 1, "uniqueItems": True}),
    Rule(_nonempty),
    Rule(_models),
]
ProviderObjects = Annotated[tuple[str, ...], Meta(max_length=256), Rule(_provider_objects)]
TimeZone = Annotated[
    str,
    _as(description="Of the IANA database", examples=["Europe/Berlin"]),
    Rule(_time_zone),
]
Day = Annotated[date, Rule(_day)]
Period = Annotated[
    str,
    _as(pattern=_whole(PERIOD_KEY), examples=["2026-11", "2026-W48", "2026-11-24"]),
    Rule(_period),
]
Time = Annotated[datetime, Meta(tz=True), Rule(_in_calendar)]
FutureTime = Annotated[
    datetime,
    Meta(tz=True, description="It must lie in the future"),
    Rule(_in_calendar),
    Rule(_future),
]
TokenCount = Annotated[int, Meta(ge=0, le=1_000_000_000)]
OutputLimit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
PageSize = Annotated[int, Meta(ge=1, le=200)]
Id = Annotated[str, Meta(min_length=1, max_length=256), Rule(_text)]
# A part of a name or an id, in either case.
Search = Annotated[str, Meta(min_length=1, max_length=100), Rule(_text)]
KeyPrefix = Annotated[str, _as(pattern=_whole(_KEY_PREFIX)), Rule(_key_prefix)]
Tag = Annotated[str, Rule(_tag)]
RoutedModel = Annotated[
    str,
    _as(pattern="^[a-z0-9][a-z0-9._-]{0,63}/.+$", maxLength=_MAX_MODEL, examples=["openai/gpt-4o"]),
    Rule(_routed_model),
]
ApiBase = Annotated[str, _as(pattern="^https?://[^?#@ ]+$", maxLength=_MAX_URL), Rule(_api_base)]
Credential = Annotated[
    str,
    _as(pattern=f"^(env:{_VARIABLE.pattern}|file:{_SECRET_FILE.pattern})$"),
    Rule(_credential),
]
Formats = Annotated[tuple[ClientFormat, ...], Rule(_formats)]
Fallbacks = Annotated[tuple[str, ...], Meta(max_length=16), Rule(_models)]
Weight = Annotated[int, Meta(ge=1, le=1000)]
Priority = Annotated[int, Meta(ge=0, le=100)]
ParallelCalls = Annotated[int, Meta(ge=1, le=100_000)]
Timeout = Annotated[float, Meta(gt=0, le=3600)]
Attempts = Annotated[int, Meta(ge=1, le=10)]
FailureCount = Annotated[int, Meta(ge=1, le=100)]
RetentionDays = Annotated[int, Meta(ge=1, le=MAX_RETENTION_DAYS)]
CooldownTime = Annotated[int, Meta(ge=0, le=3600)]
