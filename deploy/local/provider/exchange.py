"""Serves one call, from its request to its last byte, by its script."""

import time
from typing import NamedTuple

import msgspec

from deploy.local.provider import answers, directives
from deploy.local.provider.answers import Ask
from deploy.local.provider.client import ClientGoneError, ConnectedClient
from deploy.local.provider.directives import CallScript, InvalidDirectiveError
from deploy.local.provider.oracle import ExchangeOutcome, Oracle
from deploy.local.provider.threads import Threads
from deploy.local.provider.wire import (
    Family,
    GenerationRoute,
    RequestRefused,
    ScriptedCall,
    ScriptedReply,
    ServedUsage,
    StreamPlan,
    error_body,
)

STAND_IN = (b"x-provider-stand-in", b"true")
JSON = (b"content-type", b"application/json")
_SSE = (b"content-type", b"text/event-stream; charset=utf-8")
_NO_CACHE = (b"cache-control", b"no-cache")
_GARBAGE = b'{"local stand-in": garbage, '
_CLIENT_CLOSED_REQUEST = 499
# A stream without delays would otherwise block the event loop.
_WRITES_BETWEEN_CHECKS = 64


def require_credential(family: Family, headers: dict[bytes, bytes]) -> None:
    """Accepts any credential. A gateway without its key would send none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer" and token.strip():
        return
    if family == "anthropic" and headers.get(b"x-api-key"):
        return
    raise RequestRefused(
        401, "no credential: send Authorization: Bearer, or x-api-key to /v1/messages"
    )


class _BreakOff(NamedTuple):
    """A stream that the script ends early, after so many deltas."""

    after: int
    outcome: ExchangeOutcome


def _break_off(script: CallScript) -> _BreakOff | None:
    """The earliest of the ends that the script asks for."""
    candidates: tuple[tuple[int | None, ExchangeOutcome], ...] = (
        (script.cut_after_chunks, "cut"),
        (script.error_after_chunks, "errored"),
        (script.end_after_chunks, "ended_early"),
    )
    ends = [_BreakOff(after, outcome) for after, outcome in candidates if after is not None]
    return min(ends, default=None)


class Exchange:
    """Answers one request to a generating endpoint, and records the outcome."""

    def __init__(
        self,
        *,
        endpoint: GenerationRoute,
        oracle: Oracle,
        threads: Threads,
        client: ConnectedClient,
        headers: dict[bytes, bytes],
        token: str,
    ) -> None:
        self._endpoint = endpoint
        self._oracle = oracle
        self._threads = threads
        self._client = client
        self._headers = headers
        self._id = f"{endpoint.id_prefix}{token}"
        self._request_id = f"req_{token}"
        self._started_at_ms = time.time_ns() // 1_000_000
        self._ask: Ask | None = None
        self._status = _CLIENT_CLOSED_REQUEST
        self._deltas = 0
        self._served: ServedUsage | None = None

    async def run(self) -> None:
        try:
            await self._answer()
        except RequestRefused as refusal:
            await self._refuse(refusal, retry_after=None)
        except ClientGoneError:
            self._record("client_gone")
        finally:
            self._client.close()

    async def _answer(self) -> None:
        call = self._prepare(await self._client.body())
        script = call.script
        if script.delay_ms:
            await self._client.wait(script.delay_ms)
        if script.status is not None:
            message = f"[local stand-in] scripted status {script.status}"
            await self._refuse(
                RequestRefused(script.status, message), retry_after=script.retry_after
            )
        elif call.ask.stream and self._endpoint.stream is not None:
            await self._stream(self._endpoint.stream(call), script)
        else:
            await self._reply(self._endpoint.reply(call), script)

    def _prepare(self, body: bytes) -> ScriptedCall:
        endpoint = self._endpoint
        require_credential(endpoint.family, self._headers)
        try:
            ask = self._ask = self._threads.resume(endpoint.read(body, self._headers))
            script = directives.parse(ask.prompt)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidDirectiveError) as error:
            raise RequestRefused(400, f"invalid request: {error}") from error
        answer = answers.compose(ask, script)
        if script.status is None:
            self._threads.keep(self._id, ask, answer)
        return ScriptedCall(
            id=self._id,
            created=self._started_at_ms // 1000,
            ask=ask,
            script=script,
            answer=answer,
            tokens=answers.scripted_tokens(
                ask, script, answer, inclusive=endpoint.family == "openai"
            ),
        )

    def _response_headers(self, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        name = b"request-id" if self._endpoint.family == "anthropic" else b"x-request-id"
        return [STAND_IN, (name, self._request_id.encode()), *more]

    async def _refuse(self, refusal: RequestRefused, *, retry_after: int | None) -> None:
        body = error_body(self._endpoint.family, refusal, self._request_id)
        headers = self._response_headers(JSON, (b"content-length", b"%d" % len(body)))
        if retry_after is not None:
            headers.append((b"retry-after", b"%d" % retry_after))
        self._status = refusal.status
        self._record("refused")
        await self._client.start(refusal.status, headers)
        await self._client.write(body, more=False)

    async def _reply(self, reply: ScriptedReply, script: CallScript) -> None:
        body = _GARBAGE if script.garbage else reply.body
        length = (b"content-length", b"%d" % len(body))
        self._status = 200
        if script.cut_after_chunks is not None:
            await self._client.start(200, self._response_headers(JSON, length))
            await self._client.write(body[: len(body) // 2], more=True)
            self._record("cut")
            return
        if not script.garbage:
            self._served = reply.served
        self._record("garbage" if script.garbage else "served")
        await self._client.start(200, self._response_headers(JSON, length))
        await self._client.write(body, more=False)

    async def _stream(self, plan: StreamPlan, script: CallScript) -> None:
        client = self._client
        self._status = 200
        await client.start(200, self._response_headers(_SSE, _NO_CACHE))
        if script.garbage:
            await self._finish(b"data: %b\n\n" % _GARBAGE, "garbage")
            return
        await client.write(b"".join(plan.opening), more=True)
        self._served = plan.opened_with
        break_off = _break_off(script)
        deltas = plan.deltas if break_off is None else plan.deltas[: break_off.after]
        for number, start in enumerate(range(0, len(deltas), script.burst), 1):
            burst = deltas[start : start + script.burst]
            if script.chunk_delay_ms or number % _WRITES_BETWEEN_CHECKS == 0:
                await client.wait(script.chunk_delay_ms)
            await client.write(b"".join(burst), more=True)
            self._deltas += len(burst)
        if break_off is None or break_off.after > self._deltas:
            await self._finish(b"".join(plan.closing), "served", plan.closed_with)
        elif break_off.outcome == "cut":
            # Returning before the last chunk makes the server close the socket.
            self._record("cut")
        else:
            ending = plan.error_frame(self._deltas) if break_off.outcome == "errored" else b""
            await self._finish(ending, break_off.outcome)

    async def _finish(
        self, ending: bytes, outcome: ExchangeOutcome, served: ServedUsage | None = None
    ) -> None:
        await self._client.wait(0)
        if served is not None:
            self._served = served
        self._record(outcome)
        await self._client.write(ending, more=False)

    def _record(self, outcome: ExchangeOutcome) -> None:
        received = self._headers.get(b"x-request-id")
        served = self._served
        self._oracle.record(
            id=self._id,
            request_id=self._request_id,
            client_request_id=None if received is None else received.decode("latin-1"),
            path=self._endpoint.path,
            model=None if self._ask is None else self._ask.model,
            stream=self._ask is not None and self._ask.stream,
            status=self._status,
            outcome=outcome,
            completed=outcome in {"served", "refused"},
            deltas=self._deltas,
            usage=None if served is None else msgspec.Raw(served.usage),
            tokens=None if served is None else served.tokens,
            started_at_ms=self._started_at_ms,
        )
