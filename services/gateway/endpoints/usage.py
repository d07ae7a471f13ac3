"""`GET /v1/usage`: what the caller's key used lately, and how it stands as in `/v1/budget`."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from libs.common.web.json import json_response
from services.gateway.admission.standings import Standings
from services.gateway.directory.key_usage import KeyUsage, RecentUsage
from services.gateway.endpoints.budget import OwnBudgetsView, show_standing
from services.gateway.endpoints.models import caller


class UsageView(OwnBudgetsView, frozen=True, kw_only=True):
    """`usage` is the key's own, and may be some seconds old; what is spent of budgets is not."""

    usage: RecentUsage


async def show_usage(request: Request) -> Response:
    """It counts as no call, like `/v1/budget` and `/v1/models`: a holder may look at any time."""
    standings: Standings = request.state.standings
    key_usage: KeyUsage = request.state.key_usage
    principal, at = await caller(request)
    view = await show_standing(standings, principal, at)
    usage = await key_usage.of(principal, at)
    return json_response(UsageView(**msgspec.structs.asdict(view), usage=usage))
