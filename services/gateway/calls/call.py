"""A call: what it is, whose it is, and since when. What its stages find are values of their own."""

from collections.abc import Callable
from datetime import UTC, datetime
from os import urandom
from time import perf_counter

import msgspec

from libs.common.domain.ids import uuid7
from libs.common.domain.traces import trace_id_of
from libs.common.schemas.usage import Operation
from services.gateway.calls.principal import Principal
from services.gateway.calls.tracing import Tracing
from services.gateway.formats.base import Format


class Arrival(msgspec.Struct, frozen=True):
    """A request for a call whose caller is not known yet.

    `resource` follows the path of the format, both at the gateway and at the provider; `started_s`
    is perf_counter's.
    """

    format: Format
    operation: Operation
    resource: str
    call_id: str
    started_at: datetime
    started_s: float

    def elapsed_ms(self) -> int:
        return int((perf_counter() - self.started_s) * 1000)


class Call(Arrival, frozen=True):
    """A call of a known key."""

    principal: Principal
    tracing: Tracing | None = None

    @property
    def user_id(self) -> str:
        return self.principal.account.user_id

    @property
    def trace_id(self) -> str:
        tracing = self.tracing
        return trace_id_of(self.call_id) if tracing is None else tracing.context.trace_id


def arrive(
    client_format: Format,
    *,
    now_ms: int,
    operation: Operation = "create",
    resource: str = "",
    entropy: Callable[[int], bytes] = urandom,
) -> Arrival:
    return Arrival(
        client_format,
        operation,
        resource,
        uuid7(now_ms, entropy(10)),
        datetime.fromtimestamp(now_ms / 1000, UTC),
        perf_counter(),
    )


def authenticated_call(
    arrival: Arrival, principal: Principal, tracing: Tracing | None = None
) -> Call:
    return Call(
        arrival.format,
        arrival.operation,
        arrival.resource,
        arrival.call_id,
        arrival.started_at,
        arrival.started_s,
        principal,
        tracing,
    )
