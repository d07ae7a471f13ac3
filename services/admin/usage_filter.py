"""Turns the query of sums into a filter of rollups."""

import typing
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from libs.common.domain.tags import name_of
from libs.common.errors import FieldError, NotFound, ValidationFailed
from libs.common.schemas.entry import EntryStatus
from libs.common.storage.mongo.rollup_filter import Grouping, RollupField, RollupFilter
from libs.common.storage.mongo.rollup_rows import TAG
from services.admin.accounts import find_account
from services.admin.fields import Day, Id, Model, Provider, Tag, TimeZone, UserId
from services.admin.state import State
from services.admin.validation import check_span

_MAX_SPAN = timedelta(days=400)
_MAX_HOURS_SPAN = timedelta(days=31)
_DEFAULT_SPAN = timedelta(days=30)
# The first time zones reach a day so long before UTC.
_EARLIEST_ZONE = timedelta(hours=14)
_FIELDS: tuple[RollupField, ...] = typing.get_args(RollupField)
TIMES = frozenset({"hour", "day", "month"})


class SumsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Days from `since` (inclusive, by default 30 before) to `until` (exclusive), of the `zone`."""

    since: Day | None = None
    until: Day | None = None
    zone: TimeZone | None = None
    user_id: UserId | None = None
    key_id: Id | None = None
    model: Model | None = None
    requested_model: Model | None = None
    provider: Provider | None = None
    status: EntryStatus | None = None
    client_user: Id | None = None
    tag: Tag | None = None


def field_problem(name: str) -> str | None:
    """The problem of a field to group by, or None."""
    if name in _FIELDS or (name.startswith(TAG) and len(name) > len(TAG)):
        return None
    return f"{name[:64]!r} is not one of {', '.join(_FIELDS)} and tag:NAME"


async def rollup_filter(state: State, query: SumsQuery, by: Sequence[Grouping]) -> RollupFilter:
    """Raises NotFound for an unknown account or key, and ValidationFailed."""
    today = (state["now"]() + _EARLIEST_ZONE).date()
    until = today + timedelta(days=1) if query.until is None else query.until
    span = _MAX_HOURS_SPAN if "hour" in by else _MAX_SPAN
    since = query.since or until - _DEFAULT_SPAN
    check_span(since, until, longest=span)
    user_id, zone = query.user_id, query.zone
    if user_id is not None:
        account = await find_account(state, user_id)
        if "hour" in by and zone is None:
            zone = account.time_zone
    if query.key_id is not None:
        key = await state["keys"].get(query.key_id)
        if key is None or user_id not in (None, key.user_id):
            whose = "" if user_id is None else " of this account"
            raise NotFound(f"There is no key '{query.key_id[:128]}'{whose}.", param="key_id")
        # The index on keys begins with their account.
        user_id = key.user_id
    return RollupFilter(
        since=since,
        until=until,
        zone="UTC" if "hour" in by and zone is None else zone,
        user_id=user_id,
        key_id=query.key_id,
        model=query.model,
        requested_model=query.requested_model,
        provider=query.provider,
        client_user=query.client_user,
        status=query.status,
        tag=_rollup_tag(state, query.tag, by),
    )


def _rollup_tag(state: State, tag: str | None, by: Sequence[Grouping]) -> tuple[str, str] | None:
    """The tag to filter by, with its name. Raises ValidationFailed if there are no sums of it."""
    known = state["rollup_tags"]
    problem = f"is not a tag of ROLLUP_TAGS ({', '.join(known) or 'which is empty'})"
    if any(name.startswith(TAG) and name.removeprefix(TAG) not in known for name in by):
        raise ValidationFailed([FieldError("group_by", problem)])
    if tag is not None and name_of(tag) not in known:
        raise ValidationFailed([FieldError("tag", problem)])
    return None if tag is None else (name_of(tag), tag)
