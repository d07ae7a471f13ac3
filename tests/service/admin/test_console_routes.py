"""Routes by form: made, changed, raced for; what a form does not change stays to the letter."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.storage.redis.client import Redis
from libs.common.storage.redis.cooldowns import CooldownStore
from tests.service.admin.conftest import NOW
from tests.service.admin.console import browser_of, forms_of, send_form
from tests.service.admin.test_console import make
from tests.service.admin.test_models import FULL

RATES = {"input_cost_per_million": 1, "output_cost_per_million": 2}
NEW = "/console/new/route"
EDIT = "/console/edit/route/team/m"


@pytest.fixture
async def browser(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    async with browser_of(app) as client:
        yield client


@pytest.fixture
async def route(admin: httpx2.AsyncClient) -> dict[str, Any]:
    """With every field that a route and a deployment may have."""
    await make(admin, "costs", model="azure/gpt-4o-eu", **RATES)
    await make(admin, "models", model="other", deployments=[{"model": "openai/gpt-4o"}])
    profile = {"sees": True, "efforts": ["low", "high"]}
    timeouts = {"connect": 0.25, "total": 600, "first_byte": 0.000_001}
    return await make(
        admin, "models", model="team/m", fallbacks=["other"], context_fallbacks=["openai/o3"],
        max_attempts=4, cooldown_after=2, cooldown_s=0, provider_objects=["vs_1"],
        answer_model="served",
        deployments=[
            {**FULL, "profile": profile, "timeouts": timeouts, "multiplier": "1.25"},
            {"model": "openai/gpt-4o", "priority": 7, "weight": 1000, "drop_params": True},
        ],
    )  # fmt: skip


async def read_route(admin: httpx2.AsyncClient) -> dict[str, Any]:
    content: dict[str, Any] = (await admin.get("/admin/models/team%2Fm")).json()
    return content


def fill(fields: dict[str, str], number: int, **members: str) -> dict[str, str]:
    changes = {f"deployments[{number}].{name}": text for name, text in members.items()}
    assert set(changes) <= set(fields) | {f"deployments[{number}].remove"}
    return fields | changes


async def test_a_form_keeps_unchanged_fields(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, route: dict[str, Any]
) -> None:
    assert (await send_form(browser, EDIT, EDIT)).status_code == 303
    assert await read_route(admin) == route
    assert (await send_form(browser, EDIT, EDIT, fallbacks="", max_attempts="5")).status_code == 303
    assert await read_route(admin) == {**route, "fallbacks": [], "max_attempts": 5}


async def test_a_route_is_made_with_several_deployments(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    fields = forms_of(await browser.get(NEW))[NEW]
    fields = fill(fields, 0, model="openai/gpt-4o", weight="3", region="eu") | {"model": "team/m"}
    page = await browser.post(NEW, data=fields | {"more": "yes"})
    assert page.status_code == 200
    again = forms_of(page)[NEW]
    assert again["deployments[0].weight"] == "3"
    assert again["deployments[1].priority"] == "1"
    assert (await admin.get("/admin/models/team%2Fm")).status_code == 404
    again = fill(again, 1, model="anthropic/claude-sonnet-4-5", profile='{"sees": false}')
    # A third one that nothing is typed into is none.
    third = forms_of(await browser.post(NEW, data=again | {"more": "yes"}))[NEW]
    answer = await browser.post(NEW, data=third)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/models/team%2Fm")
    first, second = (await read_route(admin))["deployments"]
    assert (first["model"], first["weight"], first["region"]) == ("openai/gpt-4o", 3, "eu")
    assert (second["priority"], second["profile"]) == (1, {"sees": False})


async def test_a_deployment_is_removed_and_the_others_keep_their_ids(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, route: dict[str, Any]
) -> None:
    fields = forms_of(await browser.get(EDIT))[EDIT]
    assert (await browser.post(EDIT, data=fill(fields, 0, remove="yes"))).status_code == 303
    assert (await read_route(admin))["deployments"] == [route["deployments"][1]]
    refused = await send_form(browser, EDIT, EDIT, **{"deployments[0].model": ""})
    assert refused.status_code == 422
    assert "is required" in refused.text


WRONG = (
    ("model", "<b>"), ("weight", "0"), ("weight", "1,5"), ("priority", "x"),
    ("api_base", "ftp://x"), ("credential", "sk-secret"), ("timeouts.connect", "1e3"),
    ("timeouts.total", "0"), ("multiplier", "-1"), ("max_parallel", "9" * 30),
    ("profile", "{"), ("profile", '{"odd": 1}'), ("profile", "[" * 5_000), ("formats", "odd"),
    ("deployment_id", "dep_of_another"),
)  # fmt: skip


async def test_problems_are_shown_beside_their_fields(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, route: dict[str, Any]
) -> None:
    fields = forms_of(await browser.get(EDIT))[EDIT]
    fields.setdefault("deployments[1].formats", "")
    for member, text in WRONG:
        refused = await browser.post(EDIT, data=fill(fields, 1, **{member: text}))
        assert refused.status_code == 422, (member, text)
        assert f"deployments[1].{member}" in refused.text
        if member != "formats":
            assert forms_of(refused)[EDIT][f"deployments[1].{member}"].strip() == text
        assert await read_route(admin) == route, (member, text)


async def test_two_people_who_change_a_route_see_the_difference(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient, route: dict[str, Any]
) -> None:
    fields = fill(forms_of(await browser.get(EDIT))[EDIT], 1, weight="5")
    await admin.patch("/admin/models/team%2Fm", json={"cooldown_s": 77})
    # A mistake on the way does not make the form forget what it was filled in from.
    wrong = await browser.post(EDIT, data=fields | {"max_attempts": "99"})
    assert wrong.status_code == 422
    refused = await browser.post(EDIT, data=forms_of(wrong)[EDIT] | {"max_attempts": "4"})
    assert refused.status_code == 412
    assert "Is now: 77" in refused.text
    assert "Is now: 1000" in refused.text
    assert (await read_route(admin))["deployments"] == route["deployments"]
    assert (await browser.post(EDIT, data=forms_of(refused)[EDIT])).status_code == 303
    after = await read_route(admin)
    assert (after["cooldown_s"], after["deployments"][1]["weight"]) == (0, 5)


async def test_as_many_deployments_as_there_may_be(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    plain = {"model": "openai/gpt-4o"}
    await make(admin, "models", model="team/m", deployments=[plain] * 32)
    before = await read_route(admin)
    assert (await send_form(browser, EDIT, EDIT)).status_code == 303
    assert await read_route(admin) == before
    page = await browser.post(EDIT, data=forms_of(await browser.get(EDIT))[EDIT] | {"more": "yes"})
    last = fill(forms_of(page)[EDIT], 32, model="openai/gpt-4o")
    refused = await browser.post(EDIT, data=last)
    assert refused.status_code == 422
    assert "1 to 32 deployments" in refused.text


async def test_the_list_of_routes_is_searched_and_says_why_one_rests(
    browser: httpx2.AsyncClient, redis: Redis, route: dict[str, Any]
) -> None:
    (first, _), until_s = route["deployments"], NOW.timestamp() + 60
    reasons = {first["deployment_id"]: "it failed 3 times in a row: 503 <overloaded>"}
    await CooldownStore(redis).exchange(
        {first["deployment_id"]: until_s}, now_s=NOW.timestamp(), reasons=reasons
    )
    for path in ("/console/models", "/console/models?q=team", "/console/models/team%2Fm"):
        page = (await browser.get(path)).text
        assert "because it failed 3 times in a row: 503 &lt;overloaded&gt;" in page
    assert "No route matches" in (await browser.get("/console/models?q=nothing")).text
