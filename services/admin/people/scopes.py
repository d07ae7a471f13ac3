"""How an endpoint keeps actors with accounts in scope to these, before its handler sees the call.

A row of the route table names one of these; a row without one is closed to such actors. What is of
another account is answered as if it did not exist.
"""

from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.datastructures import QueryParams

from libs.common.decode_errors import UNREADABLE
from libs.common.errors import FieldError, NotFound, ValidationFailed
from services.admin.accounts import unknown_account
from services.admin.endpoints import EndpointCall
from services.admin.keys import find_key, unknown_key
from services.admin.people.actor import Actor

_FIELD = "user_id"


async def of_caller(call: EndpointCall, actor: Actor) -> None:
    """It is of no account, or its handler leaves out what the actor does not reach."""


async def of_path(call: EndpointCall, actor: Actor) -> None:
    _check(actor, call.request.path_params[_FIELD])


async def of_query(call: EndpointCall, actor: Actor) -> None:
    """A list is filtered by the actor's account where it is by none. Raises ValidationFailed."""
    scope = call.request.scope
    user_ids = QueryParams(scope["query_string"]).getlist(_FIELD)
    for user_id in user_ids:
        _check(actor, user_id)
    accounts = actor.accounts or ()
    if user_ids or call.endpoint.is_write:
        return
    if len(accounts) > 1:
        message = f"is required: one of {', '.join(accounts)}, the accounts in your scope"
        raise ValidationFailed([FieldError(_FIELD, message)])
    query = scope["query_string"]
    scope["query_string"] = (query + b"&" if query else b"") + urlencode(
        {_FIELD: accounts[0]}
    ).encode()


async def of_body(call: EndpointCall, actor: Actor) -> None:
    """What is not JSON, or names no account, is refused by the endpoint itself."""
    try:
        members: dict[str, Any] = msgspec.json.decode(call.content, type=dict[str, msgspec.Raw])
        user_id = msgspec.json.decode(members[_FIELD], type=str)
    except (*UNREADABLE, KeyError):
        return
    _check(actor, user_id)


async def of_key(call: EndpointCall, actor: Actor) -> None:
    key = await find_key(call.request)
    if not actor.reaches(key.user_id):
        raise unknown_key()


async def of_entry(call: EndpointCall, actor: Actor) -> None:
    entry_id = call.request.path_params["entry_id"]
    entry = await call.request.state["entries"].get(entry_id)
    if entry is not None and not actor.reaches(entry.user_id):
        raise NotFound(f"There is no entry '{entry_id[:128]}'.", param="entry_id")


async def of_recording(call: EndpointCall, actor: Actor) -> None:
    call_id = call.request.path_params["call_id"]
    recording = await call.request.state["recordings"].get(call_id)
    if recording is not None and not actor.reaches(recording.user_id):
        message = f"There is no recording of the call '{call_id[:128]}'; it may have expired."
        raise NotFound(message, param="call_id")


def _check(actor: Actor, user_id: str) -> None:
    if not actor.reaches(user_id):
        raise unknown_account(user_id)
