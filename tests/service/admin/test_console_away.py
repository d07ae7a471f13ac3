"""The console while Redis or MongoDB is away: what still holds, and what was typed is kept."""

from itertools import count

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.schemas.account import Account
from libs.common.storage.mongo.accounts import AccountStore
from libs.common.storage.mongo.driver import Database, PyMongoError
from libs.common.storage.redis.client import open_redis
from libs.common.storage.redis.key_slots import slot_of
from services.admin.console.session import COOKIE, session_key
from services.admin.settings import Settings
from tests.clusters import Cluster, until
from tests.servers import free_port
from tests.service.admin.conftest import ADMIN_KEY, app_with
from tests.service.admin.console import browser_of, forms_of, sign_in
from tests.service.admin.test_console import MARKUP

NEW = "/console/new/account"


class AwayStore(AccountStore):
    """As if MongoDB answered nothing about accounts."""

    is_away = True

    async def insert(self, account: Account) -> bool:
        if self.is_away:
            raise PyMongoError("away")
        return await super().insert(account)


async def test_a_form_keeps_typed_values_while_mongodb_is_down(
    app: Starlette, database: Database, admin: httpx2.AsyncClient
) -> None:
    store = AwayStore(database)
    async with browser_of(app, accounts=store) as browser:
        fields = forms_of(await browser.get(NEW))[NEW] | {"user_id": "a", "name": MARKUP}
        answer = await browser.post(NEW, data=fields)
        assert answer.status_code == 503
        assert "MongoDB does not answer" in answer.text
        assert "waits in the queue" in answer.text
        assert "<script>alert" not in answer.text
        kept = forms_of(answer)[NEW]
        assert kept == fields
        store.is_away = False
        assert (await browser.post(NEW, data=kept)).status_code == 303
    assert (await admin.get("/admin/accounts/a")).json()["name"] == MARKUP


@pytest.mark.parametrize("path", ["/console", "/console/accounts", "/console/nowhere"])
async def test_without_redis_a_page_says_what_still_holds(
    settings: Settings, database: Database, path: str
) -> None:
    async with (
        open_redis(f"redis://127.0.0.1:{free_port()}/0") as away,
        browser_of(app_with(settings, database, away), key=None) as browser,
    ):
        page = await browser.get(path, headers={"cookie": f"{COOKIE}=of-another-time"})
        assert page.status_code == 503
        assert "Redis does not answer" in page.text
        assert "the ledger, is as it was" in page.text
        assert forms_of(page) == {}


async def test_sign_in_works_while_a_cluster_node_is_down(
    settings: Settings, database: Database, cluster_session: Cluster
) -> None:
    cluster_session.empty()
    first, last = cluster_session.slots_of(0)
    node = cluster_session.master_of(first)
    lost = next(c for n in count() if first <= slot_of(session_key(c := f"earlier-{n}")) <= last)
    async with (
        open_redis(cluster_session.url) as redis,
        browser_of(app_with(settings, database, redis), key=None) as browser,
    ):
        await redis.ping()
        node.server.kill()
        try:
            for _ in range(4):
                browser.cookies.set(COOKIE, lost, path="/console")
                assert (await sign_in(browser, ADMIN_KEY)).status_code == 303
                browser.cookies.delete(COOKIE, domain="", path="/console")
                assert (await browser.get("/console/accounts")).status_code == 200
                assert "shards do not answer" in (await browser.get("/console/ledger")).text
                browser.cookies.clear()
        finally:
            node.server.start()
            until(cluster_session.is_whole)
