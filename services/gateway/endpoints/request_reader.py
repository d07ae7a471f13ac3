"""Reads a call's body and its request, within the memory that bodies may take."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Receive

from libs.common.domain.access import check_model
from libs.common.schemas.usage import ClientFormat
from services.gateway.calls.call import Call
from services.gateway.calls.headers import Headers
from services.gateway.calls.tags import with_metadata
from services.gateway.calls.target import Plan
from services.gateway.endpoints.body import read_body
from services.gateway.endpoints.body_memory import BodyLease
from services.gateway.endpoints.parts import Parts
from services.gateway.formats.base import CallRequest, check_model_name
from services.gateway.recordings.capture import CallCapture
from services.gateway.usage.usage_event import UsageEventWriter

_DECODED_AT_ONCE = 256 * 1024
EarlyCheck = Callable[[Call, BodyLease], Awaitable[None]]


class RequestReader:
    """Of one call; `release` it at the call's end."""

    __slots__ = ("_lease", "_parts")

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lease: BodyLease | None = None

    async def read(
        self,
        writer: UsageEventWriter,
        headers: Headers,
        receive: Receive,
        capture: CallCapture | None,
        refuse_early: EarlyCheck | None,
    ) -> tuple[bytes, CallRequest]:
        """The body and its request, for a model that the key may use. Raises AppError.

        If the body is still arriving, `refuse_early` may refuse it before the rest is read.
        """
        call = writer.call

        async def begin(announced_bytes: int | None, is_late: bool) -> BodyLease:
            key = call.principal.key
            lease = self._parts.body_memory.lease(call.operation, key.user_id, key.key_id)
            self._lease = lease
            try:
                if is_late:
                    lease.check(announced_bytes or 0)
                    if refuse_early is not None:
                        await refuse_early(call, lease)
            except BaseException:
                # Otherwise it would take memory from other calls until the error is sent.
                lease.release()
                raise
            return lease

        body = await read_body(receive, headers, self._parts.body_limits, begin)
        if capture is not None:
            capture.replace_request(body)
        if len(body) <= _DECODED_AT_ONCE:
            request = call.format.decode(body)
        else:
            # In a thread, since a large body with many small parts would block other calls.
            loop = asyncio.get_running_loop()
            request = await loop.run_in_executor(self._parts.decoding, call.format.decode, body)
        check_model_name(request.model)
        writer.request = request
        if capture is not None:
            capture.model, capture.is_stream = request.model, request.stream
        if "metadata" in request.fields:
            metadata = request.fields["metadata"]
            writer.tags = with_metadata(writer.tags, metadata, call.format)
        refusal = check_model(call.principal.key, request.model)
        if refusal is not None:
            raise refusal
        return body, request

    def take_copies(self, client_format: ClientFormat, plan: Plan) -> None:
        """Reserves the memory for copies of the body, by the plan. Raises AppError."""
        if self._lease is not None:
            targets = plan.targets + plan.context_targets
            translated = not all(target.speaks(client_format) for target in targets)
            self._lease.take_copies(translated=translated)

    def release(self) -> None:
        if self._lease is not None:
            self._lease.release()
