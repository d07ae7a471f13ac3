"""Corrections by form: once however often it is sent, and with what is wrong beside its field."""

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from libs.common.storage.redis.client import Redis
from tests.service.admin.console import browser_of, forms_of
from tests.service.admin.test_console import MARKUP, make
from tests.service.ledger_worker.worker_stage import Stage, settings_for, working
from tests.unit import builders

NEW = "/console/new/correction"


@pytest.fixture
async def stage(database: Database, redis: Redis) -> Stage:
    new_stage = Stage(database, redis)
    await new_stage.prepare()
    return new_stage


async def test_a_call_is_corrected_once(
    app: Starlette,
    admin: httpx2.AsyncClient,
    database: Database,
    stage: Stage,
    mongo_uri: str,
    redis_url: str,
) -> None:
    await make(admin, "accounts", user_id="a")
    await LedgerStore(database).post([builders.entry("call-1", user_id="a")])
    async with browser_of(app) as browser, working(stage, settings_for(mongo_uri, redis_url)):
        call = await browser.get("/console/calls/call-1")
        link = f"{NEW}?user_id=a&amp;entry_id=call-1"
        assert link in call.text
        fields = forms_of(await browser.get(link.replace("&amp;", "&")))[NEW]
        assert (fields["user_id"], fields["entry_id"]) == ("a", "call-1")
        wrong = await browser.post(NEW, data=fields | {"amount_usd": "0", "kind": "refund"})
        assert wrong.status_code == 422
        assert "must not be 0" in wrong.text
        filled = forms_of(wrong)[NEW] | {"amount_usd": "-0.000001", "reason": MARKUP}
        for _ in range(2):
            done = await browser.post(NEW, data=filled)
            assert (done.status_code, done.headers["location"]) == (303, "/console/calls/call-1")
        page = await browser.get("/console/calls/call-1")
        assert "Corrections" in page.text
        assert "<script>alert" not in page.text
    (correction,) = (await admin.get("/admin/ledger/entries/call-1")).json()["corrections"]
    assert (correction["cost_usd"], correction["reason"]) == (-1e-06, MARKUP)
