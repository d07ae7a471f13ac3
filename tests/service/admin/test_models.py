"""`/admin/models`."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from libs.common.schemas.profile import ProfileFields
from libs.common.schemas.route import Deployment, Route, Timeouts
from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.routes import RouteStore
from libs.common.storage.redis.client import Redis, open_redis
from libs.common.storage.redis.cooldowns import CooldownStore
from services.admin.settings import Settings
from tests.servers import free_port
from tests.service.admin.conftest import NOW, app_with, client_of
from tests.service.admin.problems import wrong_fields

PATH = "/admin/models"
PLAIN = {"model": "openai/gpt-4o"}
FULL: dict[str, Any] = {
    "model": "azure/gpt-4o",
    "api_base": "https://eu.example.com:8443/openai/v1",
    "credential": "file:azure-key",
    "formats": ["chat", "responses"],
    "weight": 1000,
    "priority": 100,
    "max_parallel": 20,
    "timeouts": {"connect": 0.5, "first_byte": 30, "between_bytes": None, "total": 3600},
    "drop_params": True,
    "profile": {"family": "openai", "efforts": ["low", "high"], "sees": False, "max_output": 4096},
    "translation": "library",
    "multiplier": 1.05,
    "priced_as": "gpt-4o-eu",
    "region": "eu",
}
DEFAULTS = {
    "api_base": None,
    "credential": None,
    "formats": None,
    "weight": 1,
    "priority": 0,
    "max_parallel": None,
    "timeouts": {"connect": None, "first_byte": None, "between_bytes": None, "total": None},
    "drop_params": False,
    "profile": None,
    "translation": "native",
    "multiplier": 1,
    "priced_as": None,
    "region": None,
    "cooling_until": None,
    "cooling_reason": None,
}


@pytest.fixture
async def admin(admin: httpx2.AsyncClient) -> httpx2.AsyncClient:
    """What these routes name has a price."""
    for model in ("gpt-4o-eu", "large", "other/route", "x"):
        body = {"model": model, "input_cost_per_million": 1, "output_cost_per_million": 2}
        assert (await admin.post("/admin/costs", json=body)).status_code == 201
    return admin


async def make(admin: httpx2.AsyncClient, model: str = "house", **fields: Any) -> dict[str, Any]:
    answer = await admin.post(PATH, json={"model": model, "deployments": [PLAIN], **fields})
    assert answer.status_code == 201, answer.text
    route: dict[str, Any] = answer.json()
    return route


async def test_a_route_is_kept_with_all_its_fields(
    admin: httpx2.AsyncClient, database: Database
) -> None:
    behaviour = {
        "fallbacks": ["gpt-4o", "other/route"],
        "context_fallbacks": ["large"],
        "max_attempts": 10,
        "cooldown_after": 100,
        "cooldown_s": 3600,
        "provider_objects": ["file-*"],
        "answer_model": "served",
    }
    route = await make(admin, "house/default", deployments=[PLAIN, FULL], **behaviour)
    ids = [deployment["deployment_id"] for deployment in route["deployments"]]
    assert all(name.startswith("dep_") for name in ids)
    assert len(set(ids)) == 2
    assert route == {
        "model": "house/default",
        "deployments": [
            {**DEFAULTS, **PLAIN, "deployment_id": ids[0]},
            {**DEFAULTS, **FULL, "deployment_id": ids[1]},
        ],
        **behaviour,
    }
    assert (await admin.get(f"{PATH}/house/default")).json() == route
    stored = await RouteStore(database).get("house/default")
    assert stored is not None
    assert stored.deployments[1] == Deployment(
        deployment_id=ids[1],
        model="azure/gpt-4o",
        api_base="https://eu.example.com:8443/openai/v1",
        credential="file:azure-key",
        formats=("chat", "responses"),
        weight=1000,
        priority=100,
        max_parallel=20,
        timeouts=Timeouts(connect=0.5, first_byte=30, total=3600),
        drop_params=True,
        profile=ProfileFields(
            family="openai", efforts=("low", "high"), sees=False, max_output=4096
        ),
        translation="library",
        multiplier=Decimal("1.05"),
        priced_as="gpt-4o-eu",
        region="eu",
    )


async def test_a_route_needs_only_a_model(admin: httpx2.AsyncClient, database: Database) -> None:
    route = await make(admin)
    expected: dict[str, Any] = {"fallbacks": [], "context_fallbacks": []}
    expected |= {"max_attempts": 3, "cooldown_after": 3, "cooldown_s": 30}
    expected |= {"provider_objects": [], "answer_model": "asked"}
    assert route == {"model": "house", "deployments": route["deployments"], **expected}
    stored = await RouteStore(database).get("house")
    (deployment,) = route["deployments"]
    minimal = Deployment(deployment_id=deployment["deployment_id"], model="openai/gpt-4o")
    assert stored is not None
    assert stored == Route(model="house", deployments=(minimal,), revision=stored.revision)


@pytest.mark.parametrize("name", ["a", "a/b", "a/b/test", "a b?c#d%2F", "ü:*", "test"])
async def test_names_can_contain_slashes_and_more(admin: httpx2.AsyncClient, name: str) -> None:
    await make(admin, name)
    path = f"{PATH}/" + "".join(f"%{byte:02X}" if byte != 47 else "/" for byte in name.encode())
    assert (await admin.get(path)).json()["model"] == name
    assert (await admin.patch(path, json={"cooldown_s": 1})).json()["cooldown_s"] == 1
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).status_code == 404


async def test_a_name_is_taken_once(admin: httpx2.AsyncClient) -> None:
    before = await make(admin)
    again = await admin.post(PATH, json={"model": "house", "deployments": [FULL]})
    assert again.status_code == 409
    assert wrong_fields(again).keys() == {"model"}
    assert (await admin.get(f"{PATH}/house")).json() == before


def body_with(**fields: Any) -> dict[str, Any]:
    return {"deployments": [{**PLAIN, **fields}]}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"model": ""}, ["model"]),
        ({"model": " a"}, ["model"]),
        ({"model": "a" * 257}, ["model"]),
        ({"model": None}, ["model"]),
        ({"deployments": []}, ["deployments"]),
        ({"deployments": [PLAIN] * 33}, ["deployments"]),
        ({"deployments": [PLAIN] * 65}, ["deployments"]),
        ({"deployments": None}, ["deployments"]),
        ({"deployments": PLAIN}, ["deployments"]),
        ({"deployments": [[PLAIN]]}, ["deployments[0]"]),
        ({"deployments": ["openai/gpt-4o"]}, ["deployments[0]"]),
        ({"deployments": [PLAIN, {}]}, ["deployments[1].model"]),
        (body_with(translation="adapters"), ["deployments[0].translation"]),
        (body_with(profile={"speaks": True}), ["deployments[0].profile.speaks"]),
        (body_with(profile={"efforts": ["huge"]}), ["deployments[0].profile.efforts"]),
        (body_with(profile={"max_output": 0}), ["deployments[0].profile.max_output"]),
        (body_with(profile={"max_name_chars": 63}), ["deployments[0].profile.max_name_chars"]),
        (body_with(profile={"family": "Open AI"}), ["deployments[0].profile.family"]),
        ({"answer_model": "mine"}, ["answer_model"]),
        (body_with(model="gpt-4o"), ["deployments[0].model"]),
        (body_with(model="openai/"), ["deployments[0].model"]),
        (body_with(model="/gpt-4o"), ["deployments[0].model"]),
        (body_with(model="*/gpt-4o"), ["deployments[0].model"]),
        (body_with(model="Open AI/gpt-4o"), ["deployments[0].model"]),
        (body_with(model="openai/gpt 4o\n"), ["deployments[0].model"]),
        (body_with(model="openai/" + "a" * 256), ["deployments[0].model"]),
        *(
            (body_with(api_base=url), ["deployments[0].api_base"])
            for url in (
                "",
                "host/v1",
                "ftp://host/v1",
                "file:///etc/passwd",
                "http://",
                "http://:80",
                "http://host:0",
                "http://host:99999",
                "http://host:port",
                "http://[::1",
                "https://user:hush@host",
                "https://user@host",
                "https://@host",
                "https://host/v1?key=1",
                "https://host/v1?",
                "https://host/v1#part",
                "https://ho st/v1",
                "https://host/v1\r\n",
                "https://höst/v1",
                "https://host/" + "a" * 2048,
            )
        ),
        *(
            (body_with(credential=name), ["deployments[0].credential"])
            for name in (
                "",
                "sk-proj-1234",
                "env:",
                "env:lower",
                "env:1ST",
                "env:A-B",
                "env:A B",
                "env:MONGO_URI",
                "env:REDIS_URL",
                "env:ADMIN_API_KEY",
                "file:",
                "file:.",
                "file:..",
                "file:...",
                "file:a/b",
                "file:../a",
                "file:a\0",
                "vault:a",
            )
        ),
        (body_with(api_base="http://h", formats=["chat", "chat"]), ["deployments[0].formats"]),
        (body_with(api_base="http://h", formats=["images"]), ["deployments[0].formats"]),
        (body_with(formats=["chat"]), ["deployments[0].formats"]),
        *((body_with(weight=n), ["deployments[0].weight"]) for n in (0, 1001, 1.5, None, "1")),
        *((body_with(priority=n), ["deployments[0].priority"]) for n in (-1, 101)),
        *((body_with(max_parallel=n), ["deployments[0].max_parallel"]) for n in (0, -1, 10**6)),
        (body_with(drop_params="yes"), ["deployments[0].drop_params"]),
        *((body_with(multiplier=n), ["deployments[0].multiplier"]) for n in (-1, 1001, 1e-7)),
        *((body_with(region=name), ["deployments[0].region"]) for name in ("", "EU", "a b")),
        (body_with(priced_as=""), ["deployments[0].priced_as"]),
        (body_with(timeouts=[]), ["deployments[0].timeouts"]),
        (body_with(timeouts={"read": 1}), ["deployments[0].timeouts.read"]),
        *(
            (body_with(timeouts={name: seconds}), [f"deployments[0].timeouts.{name}"])
            for name in ("connect", "first_byte", "between_bytes", "total")
            for seconds in (0, -1, 3600.1, "5")
        ),
        (body_with(deployment_id="dep_1"), ["deployments[0].deployment_id"]),
        (body_with(secret="sk"), ["deployments[0].secret"]),
        ({"fallbacks": ["house"]}, ["fallbacks"]),
        ({"context_fallbacks": ["house"]}, ["context_fallbacks"]),
        ({"fallbacks": ["a", "a"]}, ["fallbacks"]),
        ({"fallbacks": [""]}, ["fallbacks"]),
        ({"fallbacks": "a"}, ["fallbacks"]),
        ({"fallbacks": [str(n) for n in range(17)]}, ["fallbacks"]),
        *(({"max_attempts": n}, ["max_attempts"]) for n in (0, 11, True)),
        ({"max_attempts": 1, "fallbacks": ["a"]}, ["max_attempts"]),
        ({"max_attempts": 1, "context_fallbacks": ["a"]}, ["max_attempts"]),
        *(({"cooldown_after": n}, ["cooldown_after"]) for n in (0, 101)),
        *(({"cooldown_s": n}, ["cooldown_s"]) for n in (-1, 3601)),
        ({"cooldown": 1}, ["cooldown"]),
        (
            {"model": "", "cooldown_s": -1, **body_with(weight=0, credential="sk")},
            ["cooldown_s", "deployments[0].credential", "deployments[0].weight", "model"],
        ),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_invalid_field_is_named(
    shared_admin: httpx2.AsyncClient,
    shared_database: Database,
    fields: dict[str, Any],
    wrong: list[str],
) -> None:
    answer = await shared_admin.post(
        PATH, json={"model": "house", "deployments": [PLAIN], **fields}
    )
    assert answer.status_code == 422, answer.text
    assert sorted(wrong_fields(answer)) == wrong
    assert await shared_database["routes"].count_documents({}) == 0


async def test_a_secret_mistaken_for_a_name_is_not_echoed(
    admin: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"model": "house", **body_with(credential="sk-proj-secret")}
    answer = await admin.post(PATH, json=body)
    assert answer.status_code == 422
    assert "sk-proj" not in answer.text
    assert "sk-proj" not in capsys.readouterr().out


async def test_routes_are_listed_in_pages(admin: httpx2.AsyncClient) -> None:
    for name in ("c", "a/b", "b"):
        await make(admin, name)
    first = (await admin.get(PATH, params={"limit": 2})).json()
    assert [route["model"] for route in first["data"]] == ["a/b", "b"]
    rest = (await admin.get(PATH, params={"cursor": first["next_cursor"]})).json()
    assert [route["model"] for route in rest["data"]] == ["c"]
    assert rest["next_cursor"] is None


async def test_changes_leave_other_fields_alone(admin: httpx2.AsyncClient) -> None:
    before = await make(admin, deployments=[PLAIN, FULL], fallbacks=["x"])
    changed = (await admin.patch(f"{PATH}/house", json={"cooldown_s": 0})).json()
    assert changed == before | {"cooldown_s": 0}
    changed = (await admin.patch(f"{PATH}/house", json={"fallbacks": []})).json()
    assert changed == before | {"cooldown_s": 0, "fallbacks": []}
    assert (await admin.get(f"{PATH}/house")).json() == changed


async def test_a_deployment_that_stays_keeps_its_id(admin: httpx2.AsyncClient) -> None:
    first, second = (await make(admin, deployments=[PLAIN, FULL]))["deployments"]
    kept = {"deployment_id": second["deployment_id"], "model": "azure/gpt-5", "weight": 2}
    changed = await admin.patch(f"{PATH}/house", json={"deployments": [PLAIN, kept]})
    assert changed.status_code == 200
    new, same = changed.json()["deployments"]
    assert new["deployment_id"] not in {first["deployment_id"], second["deployment_id"]}
    assert same == {**DEFAULTS, **kept}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, ["body"]),
        ({"model": "other"}, ["model"]),
        ({"deployments": []}, ["deployments"]),
        ({"deployments": None}, ["deployments"]),
        ({"fallbacks": ["house"]}, ["fallbacks"]),
        ({"max_attempts": 1}, ["max_attempts"]),
        ({"deployments": [{**PLAIN, "deployment_id": "dep_1"}]}, ["deployments[0].deployment_id"]),
    ],
)
async def test_an_invalid_change_changes_nothing(
    admin: httpx2.AsyncClient, changes: dict[str, Any], wrong: list[str]
) -> None:
    before = await make(admin, fallbacks=["x"])
    answer = await admin.patch(f"{PATH}/house", json=changes)
    assert answer.status_code == 422, answer.text
    assert sorted(wrong_fields(answer)) == wrong
    assert (await admin.get(f"{PATH}/house")).json() == before


async def test_no_two_deployments_share_an_id(admin: httpx2.AsyncClient) -> None:
    (only,) = (await make(admin))["deployments"]
    twice = [{**PLAIN, "deployment_id": only["deployment_id"]}] * 2
    answer = await admin.patch(f"{PATH}/house", json={"deployments": twice})
    assert wrong_fields(answer).keys() == {"deployments[1].deployment_id"}


@pytest.mark.parametrize(
    ("method", "body"), [("GET", None), ("PATCH", {"cooldown_s": 1}), ("DELETE", None)]
)
async def test_unknown_routes_are_not_found(
    admin: httpx2.AsyncClient, method: str, body: Any
) -> None:
    answer = await admin.request(method, f"{PATH}/no/body", json=body)
    assert answer.status_code == 404
    assert wrong_fields(answer).keys() == {"name"}


async def test_cooldowns_are_shown(admin: httpx2.AsyncClient, redis: Redis) -> None:
    first, _ = (await make(admin, deployments=[PLAIN, FULL]))["deployments"]
    now_s = NOW.timestamp()
    cooldowns = {"dep_over": now_s - 1, first["deployment_id"]: now_s + 90.5}
    reasons = {first["deployment_id"]: "it failed 3 times in a row: 503"}
    await CooldownStore(redis).exchange(cooldowns, now_s=now_s, reasons=reasons)
    route = (await admin.get(f"{PATH}/house")).json()
    assert [d["cooling_until"] for d in route["deployments"]] == ["2026-11-24T12:01:30Z", None]
    assert [d["cooling_reason"] for d in route["deployments"]] == [*reasons.values(), None]
    assert (await admin.get(PATH)).json()["data"] == [route]


async def test_without_redis_routes_are_shown_and_changed(
    settings: Settings, database: Database
) -> None:
    async with (
        open_redis(f"redis://127.0.0.1:{free_port()}/0") as away,
        client_of(app_with(settings, database, away)) as admin,
    ):
        answer = await admin.post(PATH, json={"model": "house", "deployments": [PLAIN]})
        assert answer.status_code == 201
        assert answer.headers["x-invalidation"] == "delayed"
        assert answer.json()["deployments"][0]["cooling_until"] is None
        deleted = await admin.delete(f"{PATH}/house")
        assert (deleted.status_code, deleted.headers["x-invalidation"]) == (204, "delayed")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        (body_with(model="nobody/m"), "deployments[0].model"),
        (body_with(model="nobody/m", api_base="http://own/v1"), "deployments[0].model"),
        (body_with(model="openai/unheard-of"), "deployments[0].model"),
        (body_with(priced_as="unheard-of"), "deployments[0].priced_as"),
        ({"fallbacks": ["gpt-4o", "missing"]}, "fallbacks[1]"),
        ({"context_fallbacks": ["openai/missing"]}, "context_fallbacks[0]"),
    ],
)
async def test_a_route_with_an_unknown_model_is_rejected(
    admin: httpx2.AsyncClient, fields: dict[str, Any], wrong: str
) -> None:
    refused = await admin.post(PATH, json={"model": "house", "deployments": [PLAIN], **fields})
    assert refused.status_code == 422
    assert wrong_fields(refused).keys() == {wrong}
    await make(admin)
    changed = await admin.patch(f"{PATH}/house", json=fields)
    assert wrong_fields(changed).keys() == {wrong}


async def test_a_route_may_name_models_added_by_an_operator(admin: httpx2.AsyncClient) -> None:
    await make(admin, "other")
    body = {"model": "own", "input_cost_per_million": 0, "output_cost_per_million": 0}
    assert (await admin.post("/admin/costs", json=body)).status_code == 201
    own = {"model": "mine/own", "api_base": "http://own/v1", "formats": ["chat"]}
    await make(admin, deployments=[own], fallbacks=["other", "sglang/own", "gpt-4o"])


async def test_earlier_references_may_stay(admin: httpx2.AsyncClient) -> None:
    route = await make(admin, deployments=[FULL], fallbacks=["x"])
    prices = (await admin.get("/admin/costs")).json()["data"]
    for price in prices:
        await admin.delete(f"/admin/costs/{price['price_id']}")
    (deployment,) = route["deployments"]
    same = {**FULL, "deployment_id": deployment["deployment_id"], "weight": 7}
    changed = await admin.patch(
        f"{PATH}/house", json={"deployments": [same], "fallbacks": ["x"], "cooldown_s": 1}
    )
    assert changed.status_code == 200, changed.text
    moved = {**same, "priced_as": "large"}
    refused = await admin.patch(f"{PATH}/house", json={"deployments": [moved]})
    assert wrong_fields(refused).keys() == {"deployments[0].priced_as"}
