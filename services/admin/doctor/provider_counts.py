"""`POST /admin/doctor/providers`: the providers of the routes, each asked to count a few tokens.

A count costs nothing, and shows that the gateway reaches the provider, that its key is valid and
that it knows the model. The counts go through the gateway like calls of clients, with a key that is
revoked after them. A provider that has no such call is not asked: the gateway would estimate.
"""

import asyncio

import msgspec
from starlette.requests import Request

from libs.common.domain.route_tests import PIN_HEADER
from libs.common.schemas.route import Deployment, Route
from libs.common.web.http_client import HttpUnreachable
from services.admin.doctor.findings import Area, Finding, Verdict, worst
from services.admin.endpoints import Answer
from services.admin.model_tests import error_of, secret_for
from services.admin.state import State

AREA = Area("providers")
_AT_ONCE = 8
_MAX_ROUTES = 200
# Each asked takes a call; nobody has so many places to run models at.
_MAX_ASKED = 50
_OK = 200
_REFUSED = (401, 403)
_PATHS = {"messages": "/v1/messages/count_tokens", "responses": "/v1/responses/input_tokens"}
_PROMPT = "Count me."


class ProvidersView(msgspec.Struct, frozen=True, kw_only=True):
    """A finding for each deployment; `more` tells that there are others, which were not asked."""

    verdict: Verdict
    findings: tuple[Finding, ...]
    more: bool


async def count_at_providers(request: Request[State]) -> Answer[ProvidersView]:
    """Of deployments that go to one place with one credential, one is asked."""
    state = request.state
    routes = await state["routes"].list(after=None, limit=_MAX_ROUTES + 1)
    places: dict[tuple[str | None, ...], tuple[Route, Deployment]] = {}
    for route in routes[:_MAX_ROUTES]:
        for each in route.deployments:
            place = (each.model.partition("/")[0], each.api_base, each.credential)
            places.setdefault(place, (route, each))
    chosen = list(places.values())[:_MAX_ASKED]
    at_once = asyncio.Semaphore(_AT_ONCE)
    findings = []
    if chosen:
        async with secret_for(state, "the doctor's counts") as secret:
            asked = (_count(state, secret, *each, at_once) for each in chosen)
            findings = await asyncio.gather(*asked)
    else:
        findings = [
            AREA.unknown("routes", "there are none, so none was asked", "gatewayctl models create")
        ]
    more = len(places) > len(chosen) or len(routes) > _MAX_ROUTES
    return Answer(ProvidersView(verdict=worst(findings), findings=tuple(findings), more=more))


async def _count(
    state: State, secret: str, route: Route, deployment: Deployment, at_once: asyncio.Semaphore
) -> Finding:
    check = f"{deployment.model} of {route.model}"
    client_format = _counts(deployment)
    if client_format is None:
        return AREA.unknown(
            check, "has no call that costs nothing", f"gatewayctl models test {route.model}"
        )
    headers = [
        (b"authorization", b"Bearer " + secret.encode()),
        (PIN_HEADER, deployment.deployment_id.encode()),
    ]
    said = {"input": _PROMPT}
    if client_format == "messages":
        said = {"messages": [{"role": "user", "content": _PROMPT}]}  # type: ignore[dict-item]
    body = msgspec.json.encode({"model": route.model, **said})
    async with at_once:
        try:
            answer = await state["gateway"].post(_PATHS[client_format], headers, body)
        except HttpUnreachable as error:
            return AREA.fail(check, str(error), "set GATEWAY_URL, and see that a gateway runs")
    if answer.status == _OK:
        return AREA.ok(check, "counts, so its key is valid and it can be reached")
    reason = f"{answer.status}: {error_of(answer.body)}"
    if answer.status in _REFUSED:
        return AREA.fail(check, reason, "give the gateways a valid key of this provider")
    return AREA.fail(check, reason, f"gatewayctl models show {route.model}")


def _counts(deployment: Deployment) -> str | None:
    """The format in which its provider counts tokens itself."""
    provider = deployment.model.partition("/")[0]
    spoken = deployment.formats
    if provider == "anthropic" and (spoken is None or "messages" in spoken):
        return "messages"
    if provider == "openai" and deployment.api_base is None:
        return "responses" if spoken is None or "responses" in spoken else None
    return None
