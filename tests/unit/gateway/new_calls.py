"""Calls of an authenticated caller, as the stages of the gateway get them."""

from collections.abc import Callable
from os import urandom

from libs.common.schemas.usage import Operation
from services.gateway.calls.call import Call, arrive, authenticated_call
from services.gateway.calls.principal import Principal
from services.gateway.formats.base import Format
from tests.unit.builders import account, api_key


def new_call(
    client_format: Format,
    *,
    now_ms: int,
    principal: Principal | None = None,
    operation: Operation = "create",
    entropy: Callable[[int], bytes] = urandom,
) -> Call:
    """Of the account `acme` unless told otherwise."""
    arrival = arrive(client_format, now_ms=now_ms, operation=operation, entropy=entropy)
    return authenticated_call(arrival, principal or Principal(api_key(), account()))
