"""The types of request fields, each with its bounds."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

from msgspec import Meta

from libs.common.domain.ids import HASH_PREFIX, SECRET_PREFIX
from libs.common.domain.money import MAX_NUSD, nusd_to_usd, usd_to_nusd
from libs.common.domain.periods import PERIOD_KEY, period_bounds, zone_of
from libs.common.domain.tags import is_tag
from libs.common.schemas.recording import MAX_RETENTION_DAYS
from libs.common.schemas.usage import MAX_OBJECT_ID_CHARS
from services.admin.validation import FieldRule

# Part of Redis keys and MongoDB ids: no braces, no pipes.
_USER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+-]{0,127}")
_PROVIDER = re.compile(r"\*|[a-z0-9][a-z0-9._-]{0,63}")
_KEY_PREFIX = re.compile(rf"{SECRET_PREFIX}[A-Za-z0-9_-]{{6}}|{HASH_PREFIX}[0-9a-f]{{6}}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_METADATA_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:/-]{0,63}")
_MAX_METADATA = 32
_MAX_METADATA_VALUE = 512
_MAX_MODEL = 256
# Files beside the zones, which MongoDB does not have; those of `right/` count leap seconds.
_OWN_ZONE = re.compile(r"(?:posix|right)/|posixrules$|localtime$|Factory$")
_FIRST_YEAR, _LAST_YEAR = 1970, 2999


def _user_id(value: str, _: datetime) -> str | None:
    if _USER_ID.fullmatch(value):
        return None
    return "must be 1 to 128 letters, digits or . _ @ : + -, and start with a letter or digit"


def _user_ids(values: tuple[str, ...], now: datetime) -> str | None:
    for place, value in enumerate(values):
        problem = _user_id(value, now)
        if problem is not None:
            return f"item {place} {problem}"
    return None


def _distinct_users(values: tuple[str, ...], _: datetime) -> str | None:
    return None if len(set(values)) == len(values) else "names an account twice"


def provider_problem(value: str) -> str | None:
    """The problem of a provider's name, or None."""
    if _PROVIDER.fullmatch(value):
        return None
    return "must be * or a provider's name in lower case, such as openai"


def _provider(value: str, _: datetime) -> str | None:
    return provider_problem(value)


def model_problem(value: str) -> str | None:
    """The problem of a model's name, or None."""
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
    """The problem of metadata, or of changes of it, or None."""
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


def time_zone_problem(value: str) -> str | None:
    """The problem of a time zone's name, or None."""
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


def _day(value: date, _: datetime) -> str | None:
    # Beyond them, calendars with time zones have no days.
    return None if _FIRST_YEAR <= value.year <= _LAST_YEAR else "must be in 1970 to 2999"


def _tag(value: str, _: datetime) -> str | None:
    return None if is_tag(value) else "must be a tag as calls have them: name or name:value"


def _key_prefix(value: str, _: datetime) -> str | None:
    if _KEY_PREFIX.fullmatch(value):
        return None
    # Whoever has the whole secret must not put it into a URL.
    return "must be the prefix that a key shows, such as sk-gw-a1B2c3 or sha256:0a1b2c"


def is_sha256(value: str) -> bool:
    return _SHA256.fullmatch(value) is not None


def _sha256(value: str, _: datetime) -> str | None:
    # Whoever took the secret itself for it must not read it in an answer.
    return None if is_sha256(value) else "must be a SHA-256 in 64 hexadecimal digits"


def described(**schema: Any) -> Meta:
    """The rule's text in the API's description."""
    return Meta(extra_json_schema=schema)


def whole(pattern: re.Pattern[str]) -> str:
    """For JSON Schema, where a pattern may match anywhere."""
    return f"^(?:{pattern.pattern})$"


_NANO = "USD, with at most 9 decimals"

UserId = Annotated[str, described(pattern=whole(_USER_ID)), FieldRule(_user_id)]
UserIds = Annotated[tuple[str, ...], FieldRule(_user_ids)]
DistinctUserIds = Annotated[UserIds, FieldRule(_distinct_users)]
Name = Annotated[str, Meta(max_length=256), FieldRule(_text)]
Reason = Annotated[str, Meta(min_length=1, max_length=500), FieldRule(_text)]
_PAIRS = described(maxProperties=_MAX_METADATA, propertyNames={"pattern": whole(_METADATA_KEY)})
_MetadataValue = Annotated[str, described(maxLength=_MAX_METADATA_VALUE)]
Metadata = Annotated[dict[str, _MetadataValue], _PAIRS, FieldRule(_metadata)]
MetadataChanges = Annotated[dict[str, _MetadataValue | None], _PAIRS, FieldRule(_metadata)]
LimitUsd = Annotated[
    Decimal,
    # A float in the schema alone, where msgspec would make text of a Decimal; the rule is exact.
    described(minimum=0, maximum=float(nusd_to_usd(MAX_NUSD)), description=_NANO),
    FieldRule(_limit_usd),
]
_ModelName = Annotated[str, described(minLength=1, maxLength=_MAX_MODEL)]
Model = Annotated[
    str,
    described(minLength=1, maxLength=_MAX_MODEL, description="Printable, without spaces around it"),
    FieldRule(_model),
]
RouteName = Annotated[
    str,
    described(minLength=1, maxLength=_MAX_MODEL, description="Printable, without spaces around it"),
    FieldRule(_route),
]
Provider = Annotated[str, described(pattern=whole(_PROVIDER)), FieldRule(_provider)]
Aliases = Annotated[tuple[_ModelName, ...], Meta(max_length=32), FieldRule(_models)]
AllowedModels = Annotated[
    tuple[_ModelName, ...],
    Meta(max_length=256, extra_json_schema={"minItems": 1, "uniqueItems": True}),
    FieldRule(_nonempty),
    FieldRule(_models),
]
ProviderObjects = Annotated[tuple[str, ...], Meta(max_length=256), FieldRule(_provider_objects)]
TimeZone = Annotated[
    str,
    described(description="Of the IANA database", examples=["Europe/Berlin"]),
    FieldRule(_time_zone),
]
Day = Annotated[date, FieldRule(_day)]
Period = Annotated[
    str,
    described(pattern=whole(PERIOD_KEY), examples=["2026-11", "2026-W48", "2026-11-24"]),
    FieldRule(_period),
]
Time = Annotated[datetime, Meta(tz=True), FieldRule(_in_calendar)]
FutureTime = Annotated[
    datetime,
    Meta(tz=True, description="It must lie in the future"),
    FieldRule(_in_calendar),
    FieldRule(_future),
]
TokenCount = Annotated[int, Meta(ge=0, le=1_000_000_000)]
OutputLimit = Annotated[int, Meta(ge=1, le=1_000_000_000)]
PageSize = Annotated[int, Meta(ge=1, le=200)]
Id = Annotated[str, Meta(min_length=1, max_length=256), FieldRule(_text)]
# A part of a name or an id, in either case.
SearchText = Annotated[str, Meta(min_length=1, max_length=100), FieldRule(_text)]
KeyPrefix = Annotated[str, described(pattern=whole(_KEY_PREFIX)), FieldRule(_key_prefix)]
Sha256 = Annotated[str, described(pattern=whole(_SHA256)), FieldRule(_sha256)]
Tag = Annotated[str, FieldRule(_tag)]
RoutedModel = Annotated[
    str,
    described(
        pattern="^[a-z0-9][a-z0-9._-]{0,63}/.+$", maxLength=_MAX_MODEL, examples=["openai/gpt-4o"]
    ),
    FieldRule(_routed_model),
]
Fallbacks = Annotated[tuple[str, ...], Meta(max_length=16), FieldRule(_models)]
RetentionDays = Annotated[int, Meta(ge=1, le=MAX_RETENTION_DAYS)]
