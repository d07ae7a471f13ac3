"""Reads a request's whole body, bounded in size and time, and counts the memory of large ones."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from types import coroutine
from typing import Any

import msgspec
from starlette.types import Message, Receive

from libs.common.errors import AppError, BodyTooLarge, RequestTimeout, UnsupportedMediaType
from services.gateway.calls.headers import Headers
from services.gateway.endpoints.body_memory import BodyLease
from services.gateway.endpoints.content_coding import DecodedBody, coding_of

# A body up to this size that arrives at once is not counted: a connection may hold as much anyway.
UNCOUNTED_BYTES = 64 * 1024
# The whole body may take this many times the longest pause.
_TOTAL_FACTOR = 10

# Makes the lease of a body that is late or large, once nothing but the body can refuse the call.
# Gets the announced size, if any, and whether more of the body follows.
Begin = Callable[[int | None, bool], Awaitable[BodyLease]]


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete, so nobody can be answered."""


class BodyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`silence_s` is the longest pause."""

    max_bytes: int
    silence_s: float

    @property
    def total_s(self) -> float:
        return self.silence_s * _TOTAL_FACTOR


async def read_body(receive: Receive, headers: Headers, limits: BodyLimits, begin: Begin) -> bytes:
    """The body's bytes. The head is checked before any of them is received.

    A compressed body is decoded; the bounds apply to the decoded bytes.

    Raises UnsupportedMediaType, BodyTooLarge (without reading on), RequestTimeout,
    ClientDisconnected, InvalidRequest, and what `begin` and its lease raise.
    """
    announced_bytes, coding = _check_head(headers, limits.max_bytes)
    if coding is not None:
        receive = DecodedBody(receive, coding).receive
    part, is_last = _part(await _receive_within(limits.silence_s, receive))
    if len(part) > limits.max_bytes:
        raise _too_large(limits.max_bytes)
    if is_last and len(part) <= UNCOUNTED_BYTES:
        return part
    parts = [part]
    lease = await begin(announced_bytes, not is_last)
    try:
        await _receive_rest(receive, limits, lease, parts, is_last=is_last)
    except BaseException:
        # The error's traceback, which lives until it is answered, would keep them; and until then
        # other bodies would be refused for the sake of one that is refused itself.
        parts.clear()
        lease.release()
        raise
    lease.arrived()
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _receive_rest(
    receive: Receive, limits: BodyLimits, lease: BodyLease, parts: list[bytes], *, is_last: bool
) -> None:
    """Appends to `parts`, which has the first part, until the body is complete."""
    lease.take(len(parts[0]))
    ends_at = _now() + limits.total_s
    while not is_last:
        left_s = min(limits.silence_s, ends_at - _now())
        part, is_last = _part(await _receive_within(left_s, receive))
        if lease.taken + len(part) > limits.max_bytes:
            raise _too_large(limits.max_bytes)
        lease.take(len(part))
        parts.append(part)


def _check_head(headers: Headers, limit: int) -> tuple[int | None, bytes | None]:
    """The announced size, if any, and the body's compression, if any."""
    announced_bytes = encoding = None
    for name, value in headers:
        if name == b"content-type":
            _require_json(value)
        elif name == b"content-length" and value.isdigit():
            announced_bytes = int(value)
            if announced_bytes > limit:
                raise _too_large(limit)
        elif name == b"content-encoding":
            # A second header counts like a second name in the first one.
            encoding = value if encoding is None else encoding + b", " + value
    return announced_bytes, None if encoding is None else coding_of(encoding)


def _require_json(content_type: bytes) -> None:
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type != b"application/json" and not media_type.endswith(b"+json"):
        type_text = media_type.decode("latin-1")
        raise UnsupportedMediaType(f"Send the body as application/json, not as '{type_text}'.")


def _too_large(limit: int) -> AppError:
    return BodyTooLarge(f"The request body is larger than the limit of {limit} bytes.")


def _part(message: Message) -> tuple[bytes, bool]:
    """The message's bytes, and whether they are the last ones."""
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    return message.get("body", b""), not message.get("more_body", False)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _receive_within(seconds: float, receive: Receive) -> Message:
    """The next message. Raises RequestTimeout.

    The body of nearly every call is there by now, and a timer would cost such a call more than
    reading its body does: so `receive` takes a first step, and gets a timer only if it waits.
    """
    steps = receive().__await__()
    try:
        waits_for = next(steps)
    except StopIteration as stop:
        message: Message = stop.value
        return message
    try:
        async with asyncio.timeout(max(seconds, 0.0)):
            return await _go_on(steps, waits_for)
    except TimeoutError:
        raise RequestTimeout(
            "The request's body did not arrive in time. Send it without pauses, or send less."
        ) from None


@coroutine
def _go_on(steps: Generator[Any, Any, Message], waits_for: Any) -> Generator[Any, Any, Message]:
    """Awaits a coroutine whose first step has run, and what that step waits for."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - what is thrown in belongs to the steps
                waits_for = steps.throw(error)
            else:
                waits_for = steps.send(sent)
    except StopIteration as stop:
        message: Message = stop.value
        return message
