"""`POST /admin/doctor/providers`: the providers of the routes, each asked to count a few tokens.

A count costs nothing, and shows that the gateway reaches the provider, that its key is valid and
that it knows the model. The counts go through the gateway like calls of clients, with a key that is
revoked after them. A provider that has no such call is not asked: the gateway would estimate.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
from starlette.requests import Request

from libs.common.domain.route_tests import PIN_HEADER
from libs.common.schemas.route import Deployment
from libs.common.schemas.usage import ClientFormat
from libs.common.storage.mongo.rollup_filter import RollupFilter
from libs.common.web.http_client import HttpUnreachable
from services.admin.doctor.findings import Area, Finding, FindingVerdict, worst
from services.admin.endpoints import Answer
from services.admin.model_tests import error_message, secret_for
from services.admin.state import State

AREA = Area("providers")
_AT_ONCE = 8
_MAX_ROUTES = 200
# Each one takes a call; nobody runs models in more places.
_MAX_ASKED = 50
_OK = 200
_REFUSED = (401, 403)
_LATELY = timedelta(days=30)
_PROMPT = "Count me."


class _FreeCount(msgspec.Struct, frozen=True):
    """A call that costs nothing, in the format in which its provider counts."""

    client_format: ClientFormat
    path: str
    prompt: Mapping[str, Any]


# The providers that count.
_FREE: Mapping[str, _FreeCount] = {
    "anthropic": _FreeCount(
        "messages",
        "/v1/messages/count_tokens",
        {"messages": [{"role": "user", "content": _PROMPT}]},
    ),
    "openai": _FreeCount("responses", "/v1/responses/input_tokens", {"input": _PROMPT}),
}


class ProvidersView(msgspec.Struct, frozen=True, kw_only=True):
    """A finding for each deployment; `more` tells that there are others, which were not asked."""

    verdict: FindingVerdict
    findings: tuple[Finding, ...]
    more: bool


class _Target(msgspec.Struct, frozen=True, kw_only=True):
    """`model` is what is called; without `count`, there is no call that costs nothing."""

    check: str
    model: str
    count: _FreeCount | None
    deployment_id: str | None = None


async def count_at_providers(request: Request[State]) -> Answer[ProvidersView]:
    """Of deployments that go to one place with one credential, one is asked. A provider without a
    route is asked for a model of it that was called lately.
    """
    state = request.state
    targets, more = await _targets(state)
    at_once = asyncio.Semaphore(_AT_ONCE)
    findings = []
    if targets:
        async with secret_for(state, "the doctor's counts") as secret:
            findings = await asyncio.gather(
                *(_count(state, secret, target, at_once) for target in targets)
            )
    else:
        reason = "there are no routes or recent calls, so none was asked"
        findings = [AREA.unknown("asked", reason, "gatewayctl models create")]
    return Answer(ProvidersView(verdict=worst(findings), findings=tuple(findings), more=more))


async def _targets(state: State) -> tuple[list[_Target], bool]:
    """Also whether there are more."""
    routes = await state["routes"].list(after=None, limit=_MAX_ROUTES + 1)
    places: dict[tuple[str | None, ...], _Target] = {}
    for route in routes[:_MAX_ROUTES]:
        for each in route.deployments:
            place = (_provider(each.model), each.api_base, each.credential)
            target = _Target(
                check=f"{each.model} of {route.model}",
                model=route.model,
                count=_count_of(each),
                deployment_id=each.deployment_id,
            )
            places.setdefault(place, target)
    today = state["now"]().date()
    recent = RollupFilter(since=today - _LATELY, until=today + timedelta(days=2))
    rows = await state["rollups"].sums(recent, ("provider", "model"), limit=_MAX_ASKED, brief=True)
    for row in rows:
        provider, model = row.group
        if provider in _FREE:
            target = _Target(
                check=f"{provider}/{model}",
                model=f"{provider}/{model}",
                count=_FREE[provider],
            )
            places.setdefault((provider, None, None), target)
    chosen = list(places.values())[:_MAX_ASKED]
    return chosen, len(places) > len(chosen) or len(routes) > _MAX_ROUTES


async def _count(state: State, secret: str, target: _Target, at_once: asyncio.Semaphore) -> Finding:
    count = target.count
    if count is None:
        mend = f"gatewayctl models test {target.model}"
        return AREA.unknown(target.check, "has no call that costs nothing", mend)
    headers = [(b"authorization", b"Bearer " + secret.encode())]
    if target.deployment_id is not None:
        headers.append((PIN_HEADER, target.deployment_id.encode()))
    body = msgspec.json.encode({"model": target.model, **count.prompt})
    async with at_once:
        try:
            answer = await state["gateway"].post(count.path, headers, body)
        except HttpUnreachable as error:
            mend = "set GATEWAY_URL, and see that a gateway runs"
            return AREA.fail(target.check, str(error), mend)
    if answer.status == _OK:
        return AREA.ok(target.check, "counts, so its key is valid and it can be reached")
    reason = f"{answer.status}: {error_message(answer.body)}"
    mend = f"gatewayctl models show {target.model}"
    if answer.status in _REFUSED or target.deployment_id is None:
        mend = "give the gateways a valid key of this provider"
    return AREA.fail(target.check, reason, mend)


def _count_of(deployment: Deployment) -> _FreeCount | None:
    """None where its provider does not count tokens itself."""
    found = _FREE.get(_provider(deployment.model))
    if found is None or (
        deployment.formats is not None and found.client_format not in deployment.formats
    ):
        return None
    # A server at another address may speak the format and yet not count.
    return found if deployment.api_base is None else None


def _provider(model: str) -> str:
    return model.partition("/")[0]
