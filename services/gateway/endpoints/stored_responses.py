"""`/v1/responses/{id}` and its sub-paths: responses that a provider stores.

A request goes to the deployment that made the response, and only for the account whose call made
it: all accounts share the provider's key, so the provider would return any account's response.
"""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec
from starlette.types import Receive, Scope, Send

from libs.common.errors import InvalidRequest, NotFound, UpstreamFailed
from libs.common.schemas.usage import Operation
from services.gateway.calls.attempts import Attempt
from services.gateway.calls.call import Arrival, arrive
from services.gateway.calls.headers import Headers
from services.gateway.calls.target import Target
from services.gateway.endpoints.handler import Handler
from services.gateway.endpoints.parts import Parts
from services.gateway.endpoints.query import OF_STORED_RESPONSES, passed_query
from services.gateway.formats import RESPONSES
from services.gateway.formats.base import CallRequest
from services.gateway.upstream.answer import Stream
from services.gateway.usage.usage_event import UsageEventWriter

_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")


class StoredEndpoint:
    """`operations` are by method; `resource` is what follows the response's id."""

    def __init__(self, operations: Mapping[str, Operation], resource: str = "") -> None:
        self._operations = operations
        self._methods = frozenset(operations)
        self._resource = resource
        self.path = f"{RESPONSES.path}/{{response_id}}{resource}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts: Parts = scope["state"]["parts"]
        response_id: str = scope["path_params"]["response_id"]
        query: bytes = scope["query_string"]
        arrival = arrive(
            RESPONSES,
            now_ms=parts.clock.now_ms(),
            operation=self._operations.get(scope["method"], "retrieve"),
            resource=f"/{response_id}{self._resource}{passed_query(query, OF_STORED_RESPONSES)}",
        )
        handler = _StoredHandler(parts, arrival, receive, send, self._methods, response_id, query)
        await handler.handle(scope)


class _StoredHandler(Handler):
    __slots__ = ("_query", "_response_id")

    def __init__(
        self,
        parts: Parts,
        arrival: Arrival,
        receive: Receive,
        send: Send,
        allowed: frozenset[str],
        response_id: str,
        query: bytes,
    ) -> None:
        super().__init__(parts, arrival, receive, send, allowed)
        self._response_id = response_id
        self._query = query

    async def serve(self, writer: UsageEventWriter, headers: Headers) -> None:
        call, parts = writer.call, self.parts
        if not _ID.fullmatch(self._response_id):
            # The id becomes a part of the provider's path.
            raise NotFound("No response with this id exists.")
        if parse_qs(self._query).get(b"stream", [b"false"])[-1] != b"false":
            raise InvalidRequest(
                "Streaming a stored response is not supported: omit 'stream'.", param="stream"
            )
        kept_object = await parts.ownership.find_response(call.principal, self._response_id)
        request = writer.request = CallRequest(
            model=kept_object.model, stream=False, max_output_tokens=None, fields={}
        )
        target = await self._target(kept_object.model, kept_object.deployment)
        upstream = await parts.dispatcher.send_to(
            Attempt(call, request, target, headers), writer.attempts
        )
        if isinstance(upstream, Stream):
            await upstream.close()
            raise UpstreamFailed("The provider answered with a stream instead of a response.")
        writer.progress.provider_request_id = upstream.provider_request_id
        await self.answer(writer, upstream)

    async def _target(self, model: str, deployment_id: str) -> Target:
        plan = await self.parts.router.plan(model)
        for target in plan.targets + plan.context_targets:
            if target.deployment_id == deployment_id and target.speaks(RESPONSES.name):
                return msgspec.structs.replace(target, max_parallel=None)
        raise NotFound("The deployment that stored this response no longer exists.")
