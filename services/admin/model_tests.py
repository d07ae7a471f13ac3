"""`POST /admin/models/{name}/test`: one tiny real call to each deployment of a route.

The calls go through the gateway, with a key that is made for them and revoked after them, of an
account that is kept for them. Each call is metered, priced and posted like any other, so the ledger
holds the cost of tests. Only the gateway ever receives the key's secret.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from time import perf_counter
from typing import Any

import msgspec
from starlette.requests import Request

from libs.common.decode_errors import UNREADABLE
from libs.common.domain.ids import new_secret, secret_hash, secret_prefix
from libs.common.domain.route_tests import PIN_HEADER, TEST_USER_ID
from libs.common.errors import FieldError, ValidationFailed
from libs.common.schemas.account import Account
from libs.common.schemas.key import ApiKey
from libs.common.schemas.route import Deployment, Route
from libs.common.schemas.usage import ClientFormat
from libs.common.web.http_client import HttpAnswer, HttpUnreachable
from services.admin.creations import SECRET_BYTES
from services.admin.endpoints import Answer
from services.admin.fields import Id
from services.admin.models import find_route
from services.admin.state import State

_PROMPT = "Reply with OK."
_TURNS = ({"role": "user", "content": _PROMPT},)
# Enough for two letters after some thought.
_OUTPUT_TOKENS = 64
_AT_ONCE = 8
# Every call has started by then, even if each one takes its full timeout.
_KEY_LIFETIME = timedelta(minutes=10)
_MAX_ERROR = 1_000
_OK = 200


class TestBody(msgspec.Struct, frozen=True, kw_only=True):
    """Without an id, all deployments are tested."""

    deployment_id: Id | None = None


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is the HTTP status, null where there was none; `request_id` is the entry's id."""

    deployment_id: str
    ok: bool
    status: int | None = None
    latency_ms: int
    error: str | None = None
    model: str
    cost_usd: Decimal | None = None
    request_id: str | None = None


class TestView(msgspec.Struct, frozen=True, kw_only=True):
    """`user_id` is the account that the calls are charged to."""

    model: str
    user_id: str
    results: tuple[TestResult, ...]


class _ErrorFields(msgspec.Struct):
    message: str


class _ErrorBody(msgspec.Struct):
    error: _ErrorFields


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


async def test_model(request: Request[State], body: TestBody) -> Answer[TestView]:
    """Answers 200 even if deployments fail; `results` holds each outcome."""
    state = request.state
    route = await find_route(request)
    chosen = [d for d in route.deployments if body.deployment_id in (None, d.deployment_id)]
    if not chosen:
        message = "is not a deployment of this route"
        raise ValidationFailed([FieldError("deployment_id", message)])
    at_once = asyncio.Semaphore(_AT_ONCE)
    async with secret_for(state, f"test of {route.model}") as secret:
        results = await asyncio.gather(
            *(_result(state, secret, route, deployment, at_once) for deployment in chosen)
        )
    return Answer(TestView(model=route.model, user_id=TEST_USER_ID, results=tuple(results)))


@asynccontextmanager
async def secret_for(state: State, name: str) -> AsyncIterator[str]:
    """The secret of a key of that name, which is revoked after the block.

    If the process dies, the key expires.
    """
    now = state["now"]()
    account = Account(user_id=TEST_USER_ID, name="Tests of routes", created_at=now, updated_at=now)
    if await state["accounts"].insert(account):
        await state["announcer"].announce("account", [TEST_USER_ID])
    secret = new_secret(state["entropy"](SECRET_BYTES))
    key = ApiKey(
        key_id=f"key_{state['new_id']()}",
        user_id=TEST_USER_ID,
        name=name[:256],
        prefix=secret_prefix(secret),
        secret_hash=secret_hash(secret),
        expires_at=now + _KEY_LIFETIME,
        created_at=now,
        updated_at=now,
    )
    await state["keys"].insert(key)
    try:
        yield secret
    finally:
        revoked = {"status": "revoked", "revision": state["new_id"]()}
        await state["keys"].update(key.key_id, revoked, state["now"]())
        await state["announcer"].announce("key", [key.secret_hash])


async def _result(
    state: State, secret: str, route: Route, deployment: Deployment, at_once: asyncio.Semaphore
) -> TestResult:
    form = _FORMS[_format_of(deployment)]
    headers = [
        (b"authorization", b"Bearer " + secret.encode()),
        (PIN_HEADER, deployment.deployment_id.encode()),
    ]
    body = msgspec.json.encode({"model": route.model, **form.fields(deployment)})
    async with at_once:
        started = perf_counter()
        try:
            answer = await state["gateway"].post(form.path, headers, body)
        except HttpUnreachable as error:
            return TestResult(
                deployment_id=deployment.deployment_id,
                ok=False,
                latency_ms=_ms_since(started),
                error=str(error),
                model=deployment.model,
            )
        return _test_result(deployment, answer, _ms_since(started))


def _test_result(deployment: Deployment, answer: HttpAnswer, latency_ms: int) -> TestResult:
    ok = answer.status == _OK
    cost = answer.headers.get(b"x-gateway-cost-usd")
    request_id = answer.headers.get(b"x-request-id")
    return TestResult(
        deployment_id=deployment.deployment_id,
        ok=ok,
        status=answer.status,
        latency_ms=latency_ms,
        error=None if ok else error_message(answer.body),
        model=deployment.model,
        cost_usd=None if cost is None else Decimal(cost.decode()),
        request_id=None if request_id is None else request_id.decode("latin-1"),
    )


def _format_of(deployment: Deployment) -> ClientFormat:
    """A format that the deployment itself speaks, so that no call is translated needlessly."""
    if deployment.formats:
        return deployment.formats[0]
    if "embedding" in deployment.model:
        return "embeddings"
    return "messages" if deployment.model.startswith("anthropic/") else "chat"


def _chat_fields(deployment: Deployment) -> dict[str, Any]:
    """OpenAI's reasoning models reject `max_tokens`, which all other models accept."""
    is_openai = deployment.model.startswith("openai/") and deployment.api_base is None
    own = is_openai or deployment.model.startswith("azure/")
    limit = "max_completion_tokens" if own else "max_tokens"
    return {"messages": _TURNS, limit: _OUTPUT_TOKENS}


class _TestForm(msgspec.Struct, frozen=True):
    """How a format is called: its path at the gateway, and what a body has beside the model."""

    path: str
    fields: Callable[[Deployment], dict[str, Any]]


_FORMS: Mapping[ClientFormat, _TestForm] = {
    "chat": _TestForm("/v1/chat/completions", _chat_fields),
    "messages": _TestForm(
        "/v1/messages", lambda _: {"messages": _TURNS, "max_tokens": _OUTPUT_TOKENS}
    ),
    "responses": _TestForm(
        "/v1/responses", lambda _: {"input": _PROMPT, "max_output_tokens": _OUTPUT_TOKENS}
    ),
    "embeddings": _TestForm("/v1/embeddings", lambda _: {"input": _PROMPT}),
}


def error_message(body: bytes) -> str:
    """The message of an error in any format, else the start of the body."""
    try:
        return _decode_error(body).error.message[:_MAX_ERROR]
    except UNREADABLE:
        return body[:_MAX_ERROR].decode("utf-8", "replace")


def _ms_since(started: float) -> int:
    return int((perf_counter() - started) * 1000)
