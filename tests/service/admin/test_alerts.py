"""Receivers of alerts, and what they were told."""

from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest
from standardwebhooks import Webhook

from libs.common.outbox import delivery_of
from libs.common.schemas.alert import ALERT_KINDS, PAYLOADS, Alert, Delivery, KeyExpiring
from libs.common.storage.mongo.alert_receivers import MAX_RECEIVERS, ReceiverStore
from libs.common.storage.mongo.alerts import AlertStore
from libs.common.storage.mongo.driver import Database
from libs.common.storage.redis.client import Redis
from services.admin.settings import Settings
from tests.service.admin.conftest import NOW, app_with, client_of
from tests.service.admin.problems import wrong_fields

RECEIVERS = "/admin/alerts/receivers"
URL = "https://hooks.example/alerts"


@pytest.fixture
async def receiver(admin: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await admin.post(RECEIVERS, json={"url": URL})
    assert answer.status_code == 201
    content: dict[str, Any] = answer.json()
    return content


def fields_of(answer: httpx2.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return set(wrong_fields(answer))


async def test_a_receiver_is_made_shown_changed_and_removed(
    admin: httpx2.AsyncClient, receiver: dict[str, Any]
) -> None:
    secret = receiver.pop("secret")
    Webhook(secret)
    path = f"{RECEIVERS}/{receiver['receiver_id']}"
    assert receiver == {
        "receiver_id": receiver["receiver_id"],
        "name": "",
        "url": URL,
        "kinds": [],
        "user_ids": [],
        "enabled": True,
        "old_secret_until": None,
        "created_at": "2026-11-24T12:00:00Z",
        "updated_at": "2026-11-24T12:00:00Z",
    }
    view = await admin.get(path)
    assert view.json() == receiver
    assert (await admin.get(RECEIVERS)).json()["data"] == [receiver]
    changes = {"kinds": ["price.changed", "budget.exhausted"], "enabled": False, "name": "ops"}
    changed = await admin.patch(path, json=changes, headers={"if-match": view.headers["etag"]})
    assert changed.json() == receiver | changes
    late = await admin.patch(path, json={"name": "x"}, headers={"if-match": view.headers["etag"]})
    assert late.status_code == 412
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.get(path)).status_code == 404
    assert (await admin.delete(path)).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://hooks.example/"}, "url"),
        ({"url": "https://169.254.169.254/latest"}, "url"),
        ({"url": "https://a:b@hooks.example/"}, "url"),
        ({"url": "ftp://hooks.example/"}, "url"),
        ({"url": {"$ne": ""}}, "url"),
        ({"url": "https://hooks.example/" + "a" * 2000}, "url"),
        ({"url": URL, "kinds": ["nothing"]}, "kinds"),
        ({"url": URL, "kinds": ["price.changed", "price.changed"]}, "kinds"),
        ({"url": URL, "user_ids": ["nobody"]}, "user_ids"),
        ({"url": URL, "user_ids": ["a b"]}, "user_ids"),
        ({"url": URL, "enabled": 1}, "enabled"),
        ({"url": URL, "secret": "mine"}, "secret"),
    ],
)
async def test_problems_of_a_receiver_are_named(
    admin: httpx2.AsyncClient, receiver: dict[str, Any], body: dict[str, Any], field: str
) -> None:
    assert fields_of(await admin.post(RECEIVERS, json=body)) == {field}
    body = {name: value for name, value in body.items() if name == field}
    if body:
        path = f"{RECEIVERS}/{receiver['receiver_id']}"
        assert fields_of(await admin.patch(path, json=body)) == {field}


async def test_hosts_that_the_settings_allow(
    settings: Settings, database: Database, redis: Redis
) -> None:
    allowing = msgspec.structs.replace(settings, alert_allowed_hosts="hooks.inside:8080")
    async with client_of(app_with(allowing, database, redis)) as admin:
        answer = await admin.post(RECEIVERS, json={"url": "http://hooks.inside:8080/"})
        assert answer.status_code == 201
        refused = await admin.post(RECEIVERS, json={"url": "http://hooks.inside/"})
        assert "ALERT_ALLOWED_HOSTS" in refused.text
    # What was taken before can still be changed, but for its address.
    async with client_of(app_with(settings, database, redis)) as admin:
        path = f"{RECEIVERS}/{answer.json()['receiver_id']}"
        assert (await admin.patch(path, json={"enabled": False})).status_code == 200
        assert fields_of(await admin.patch(path, json={"url": "http://hooks.inside:81/"})) == {
            "url"
        }


async def test_receivers_are_bounded(admin: httpx2.AsyncClient) -> None:
    for _ in range(MAX_RECEIVERS):
        assert (await admin.post(RECEIVERS, json={"url": URL})).status_code == 201
    assert (await admin.post(RECEIVERS, json={"url": URL})).status_code == 409


async def test_a_secret_is_replaced_with_a_grace(
    admin: httpx2.AsyncClient, receiver: dict[str, Any], database: Database
) -> None:
    path = f"{RECEIVERS}/{receiver['receiver_id']}"
    key = {"idempotency-key": "rotate-1"}
    rotated = await admin.post(f"{path}/rotate", json={"grace_s": 60}, headers=key)
    assert rotated.status_code == 200
    assert rotated.json()["secret"] != receiver["secret"]
    assert rotated.json()["old_secret_until"] == "2026-11-24T12:01:00Z"
    again = await admin.post(f"{path}/rotate", json={"grace_s": 60}, headers=key)
    assert again.json() == rotated.json()
    stored = await ReceiverStore(database).get(receiver["receiver_id"])
    assert stored is not None
    assert (stored.secret, stored.old_secret) == (rotated.json()["secret"], receiver["secret"])
    assert "secret" not in (await admin.get(path)).json()
    at_once = await admin.post(f"{path}/rotate", json={"grace_s": 0})
    assert at_once.json()["old_secret_until"] is None
    stored = await ReceiverStore(database).get(receiver["receiver_id"])
    assert stored is not None
    assert stored.old_secret is None
    assert fields_of(await admin.post(f"{path}/rotate", json={"grace_s": -1})) == {"grace_s"}


async def test_a_test_is_put_into_the_outbox(
    admin: httpx2.AsyncClient, receiver: dict[str, Any]
) -> None:
    path = f"{RECEIVERS}/{receiver['receiver_id']}"
    answer = await admin.post(f"{path}/test")
    assert answer.status_code == 202
    alert = answer.json()
    assert (alert["kind"], alert["state"], alert["tries"]) == ("receiver.test", "pending", 0)
    assert alert["message"]["data"] == {"version": 1, "receiver_id": receiver["receiver_id"]}
    assert (await admin.get(f"/admin/alerts/{alert['alert_id']}")).json() == alert
    assert (await admin.get("/admin/alerts")).json()["data"] == [alert]
    await admin.patch(path, json={"enabled": False})
    assert (await admin.post(f"{path}/test")).status_code == 409
    assert (await admin.post(f"{RECEIVERS}/rcv_none/test")).status_code == 404


def delivery(number: int, receiver_id: str, **changes: Any) -> Delivery:
    at = NOW + timedelta(hours=number // 2)
    data = KeyExpiring(
        key_id=f"key_{number}", user_id=f"user-{number % 2}", name="", prefix="", expires_at=at
    )
    alert = Alert(
        kind="key.expiring", name=str(number), user_id=f"user-{number % 2}", at=at, data=data
    )
    return msgspec.structs.replace(delivery_of(alert, receiver_id), **changes)


@pytest.fixture
async def alert_ids(database: Database, receiver: dict[str, Any]) -> list[str]:
    """Ids, the newest first."""
    deliveries = [delivery(number, receiver["receiver_id"]) for number in range(6)]
    deliveries[1] = msgspec.structs.replace(deliveries[1], state="failed", fault="gone", tries=20)
    deliveries.append(delivery(6, "rcv_removed", state="failed"))
    await AlertStore(database).add(deliveries)
    newest = sorted(deliveries, key=lambda row: (row.created_at, row.alert_id), reverse=True)
    return [row.alert_id for row in newest]


async def ids_of(admin: httpx2.AsyncClient, query: str) -> list[str]:
    answer = await admin.get(f"/admin/alerts?{query}")
    assert answer.status_code == 200, answer.text
    return [alert["alert_id"] for alert in answer.json()["data"]]


async def test_alerts_are_listed_by_page_and_filter(
    admin: httpx2.AsyncClient, receiver: dict[str, Any], alert_ids: list[str]
) -> None:
    assert await ids_of(admin, "") == alert_ids
    ids: list[str] = []
    cursor = ""
    while True:
        answer = (await admin.get(f"/admin/alerts?limit=2{cursor}")).json()
        ids += [alert["alert_id"] for alert in answer["data"]]
        if answer["next_cursor"] is None:
            break
        cursor = f"&cursor={answer['next_cursor']}"
    assert ids == alert_ids
    receiver_id = receiver["receiver_id"]
    assert len(await ids_of(admin, f"receiver_id={receiver_id}")) == 6
    assert len(await ids_of(admin, "state=failed")) == 2
    assert len(await ids_of(admin, f"state=failed&receiver_id={receiver_id}")) == 1
    assert len(await ids_of(admin, "user_id=user-1")) == 3
    assert await ids_of(admin, "kind=budget.exhausted") == []
    assert len(await ids_of(admin, "since=2026-11-24T13:00:00Z&until=2026-11-24T14:00:00Z")) == 2
    for query in ("kind=x", "state=x", "limit=0", "who=me", "since=x"):
        assert fields_of(await admin.get(f"/admin/alerts?{query}")) == {query.split("=")[0]}
    backwards = "since=2026-11-25T00:00:00Z&until=2026-11-24T00:00:00Z"
    assert fields_of(await admin.get(f"/admin/alerts?{backwards}")) == {"until"}


async def test_a_replay_makes_a_message_pending_again(
    admin: httpx2.AsyncClient, alert_ids: list[str]
) -> None:
    [failed] = [
        alert
        for alert in (await admin.get("/admin/alerts?state=failed")).json()["data"]
        if alert["fault"] == "gone"
    ]
    replayed = await admin.post(f"/admin/alerts/{failed['alert_id']}/replay")
    assert replayed.status_code == 202
    assert replayed.json() == failed | {
        "state": "pending",
        "tries": 0,
        "fault": None,
        "next_try_at": "2026-11-24T12:00:00Z",
    }
    assert (await admin.post("/admin/alerts/msg_none/replay")).status_code == 404
    assert (await admin.get("/admin/alerts/msg_none")).status_code == 404
    removed = delivery(6, "rcv_removed").alert_id
    assert (await admin.post(f"/admin/alerts/{removed}/replay")).status_code == 409


async def test_price_changes_are_reported(
    admin: httpx2.AsyncClient, receiver: dict[str, Any]
) -> None:
    price = {"model": "m", "input_cost_per_million": 1, "output_cost_per_million": 2}
    version = (await admin.post("/admin/costs", json=price)).json()
    await admin.delete(f"/admin/costs/{version['price_id']}")
    body = {"provider": "openai", "model": "gpt-4.1-mini", "dry_run": False}
    imported = (await admin.post("/admin/costs/import", json=body)).json()
    await admin.post("/admin/costs/import", json=body | {"dry_run": True})
    await admin.delete(f"/admin/costs/imports/{imported['import_id']}")
    alerts = (await admin.get("/admin/alerts?kind=price.changed")).json()["data"]
    data = {alert["message"]["data"]["change"]: alert["message"]["data"] for alert in alerts}
    assert len(alerts) == 4
    assert (data["set"]["model"], data["set"]["made_by"]) == ("m", "root")
    assert data["ended"]["effective_until"] == "2026-11-24T12:00:00Z"
    for change in ("imported", "import_undone"):
        assert (data[change]["import_id"], data[change]["versions"]) == (imported["import_id"], 1)


async def test_percentages_of_budgets(admin: httpx2.AsyncClient) -> None:
    budget = {"limit_usd": 10, "period": "monthly", "alert_percents": [80, 50]}
    answer = await admin.post("/admin/accounts", json={"user_id": "a", "budgets": [budget]})
    assert answer.json()["budgets"][0]["alert_percents"] == [50, 80]
    merged = await admin.patch("/admin/accounts/a", json={"budget": {"limit_usd": 20}})
    assert merged.json()["budgets"][0]["alert_percents"] == [50, 80]
    cleared = await admin.patch("/admin/accounts/a", json={"budget": {"alert_percents": []}})
    assert cleared.json()["budgets"][0]["alert_percents"] == []
    for percents in ([0], [101], [50, 50], [1.5], list(range(1, 12)), "50"):
        wrong = {"budgets": [budget | {"alert_percents": percents}]}
        refused = await admin.patch("/admin/accounts/a", json=wrong)
        assert fields_of(refused) == {"budgets[0].alert_percents"}


def test_every_kind_has_a_payload() -> None:
    assert tuple(PAYLOADS) == ALERT_KINDS
    assert len(set(PAYLOADS.values())) == len(ALERT_KINDS)


@pytest.mark.usefixtures("alert_ids")
async def test_a_scoped_person_sees_only_alerts_of_accounts_in_scope(
    admin: httpx2.AsyncClient,
) -> None:
    await admin.post("/admin/accounts", json={"user_id": "user-1"})
    body = {"name": "Ada", "role": "operator", "accounts": ["user-1"]}
    person = (await admin.post("/admin/people", json=body)).json()
    admin.headers["authorization"] = f"Bearer {person['admin_key']}"
    alerts = (await admin.get("/admin/alerts")).json()["data"]
    assert [alert["user_id"] for alert in alerts] == ["user-1"] * 3
    assert (await admin.get("/admin/alerts?user_id=user-0")).status_code == 404
    closed = [RECEIVERS, f"/admin/alerts/{alerts[0]['alert_id']}"]
    assert [(await admin.get(path)).status_code for path in closed] == [403, 403]
    assert (await admin.post(RECEIVERS, json={"url": URL})).status_code == 403
