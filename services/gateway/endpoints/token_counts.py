"""`POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`.

The provider counts if it speaks the format; otherwise the gateway estimates. A count takes no hold
and costs nothing; its entry has the operation `count`.
"""

from starlette.types import Receive, Scope, Send

from libs.common.errors import UpstreamFailed
from services.gateway.calls.call import arrive
from services.gateway.calls.headers import Headers
from services.gateway.endpoints.handler import Handler
from services.gateway.endpoints.parts import Parts
from services.gateway.endpoints.query import query_of_call
from services.gateway.formats.base import Format
from services.gateway.upstream.answer import Stream
from services.gateway.usage.usage_event import UsageEventWriter


class CountEndpoint:
    """`resource` is what follows the path of the format."""

    def __init__(self, client_format: Format, resource: str) -> None:
        self._format = client_format
        self._resource = resource
        self.path = client_format.path + resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: Parts = scope["state"]["parts"]
        arrival = arrive(
            self._format,
            now_ms=parts.clock.now_ms(),
            operation="count",
            resource=self._resource + query_of_call(self._format, scope["query_string"]),
        )
        await _CountHandler(parts, arrival, receive, send).handle(scope)


class _CountHandler(Handler):
    __slots__ = ()

    async def serve(self, writer: UsageEventWriter, headers: Headers) -> None:
        call, parts = writer.call, self.parts
        _, request = await self.read_request(writer, headers)
        plan = await parts.router.plan(request.model)
        if request.named_objects:
            plan = (await parts.ownership.check(call.principal, call.format, request, plan)).plan
        self.reader.take_copies(call.format.name, plan)
        upstream = await parts.dispatcher.send(call, request, plan, headers, writer.attempts)
        if isinstance(upstream, Stream):
            await upstream.close()
            raise UpstreamFailed("The provider answered with a stream instead of a count.")
        writer.progress.provider_request_id = upstream.provider_request_id
        await self.answer(writer, upstream)
