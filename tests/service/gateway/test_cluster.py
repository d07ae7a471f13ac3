"""A gateway on a Redis Cluster: the loss of a master concerns its own accounts alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from libs.common.settings import Secret
from libs.common.storage.redis.client import RedisError
from libs.common.storage.redis.shards import Shards, cluster_shards, shards_of
from services.gateway.settings import Settings
from tests.clusters import Cluster, Node, promote, until
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT
from tests.service.gateway.stage import open_gateway
from tests.service.gateway.test_budgets import OUTPUT_USD, Turnstile
from tests.service.gateway.test_outages import file_count
from tests.service.gateway.test_pool_outages import COST_NUSD, ROOM_FOR_FIVE_USD, status
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books, open_books
from tests.support.polling import eventually
from tests.support.sharding import slot_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def settings(settings_with: SettingsWith, cluster_session: Cluster, tmp_path: Path) -> Settings:
    return settings_with(redis_url=Secret(cluster_session.url), spool_dir=str(tmp_path / "spool"))


@pytest_asyncio.fixture(loop_scope="module")
async def own_books(module_mongo_uri: str, cluster_session: Cluster) -> AsyncIterator[Books]:
    async with open_books(module_mongo_uri, cluster_session.url) as books:
        await books.set_price("by-output", input_usd="0", output_usd=OUTPUT_USD)
        yield books


async def key_at(books: Books, cluster: Cluster, *masters: Node) -> str:
    """A key of an account whose shard is at one of the masters, with room for five calls."""
    while True:
        user_id = await books.add_account(limit_usd=ROOM_FOR_FIVE_USD)
        if cluster.master_of(slot_of(shards_of(books.redis).root_of(user_id))) in masters:
            return await books.add_key(user_id)


async def test_a_dead_masters_accounts_go_by_the_policy_and_the_others_do_not_notice(
    upstream: Upstream, own_books: Books, settings: Settings, cluster_session: Cluster
) -> None:
    upstream.answers(CHAT.answer)
    master = cluster_session.master_of(0)
    replica = cluster_session.replica_of(master)
    lost = await key_at(own_books, cluster_session, master)
    other = await key_at(own_books, cluster_session, *cluster_session.others(master))
    async with open_gateway(settings) as gateway:
        for secret in (lost, other):
            assert [await status(gateway, secret) for _ in range(2)] == [200] * 2
            assert await own_books.held(secret) == 2 * COST_NUSD
        until(lambda: _has_all(replica, master))
        master.server.kill()
        try:
            assert [await status(gateway, lost) for _ in range(4)] == [200] * 3 + [429]
            assert file_count(settings) == 1
            assert [await status(gateway, other) for _ in range(4)] == [200] * 3 + [429]
            assert await own_books.held(other) == 5 * COST_NUSD
            promote(replica)

            async def is_drained() -> bool:
                # While Redis does not know of those calls, the process still does.
                assert await status(gateway, lost) == 429
                # The other masters hear of the new one a moment later.
                with suppress(RedisError):
                    return file_count(settings) == 0 and await own_books.held(lost) == 5 * COST_NUSD
                return False

            await eventually(is_drained)
            assert await status(gateway, lost) == 429
        finally:
            master.server.start()
            until(lambda: master.ask("INFO").get("master_link_status") == "up")
    for secret in (lost, other):
        ok = [event for event in await own_books.events(secret) if event.status == "ok"]
        assert len(ok) == len({event.call_id for event in ok}) == 5


def divide(cluster: Cluster, shards: int) -> None:
    """Empties the cluster, as an operator does before another number of shards is used, and is
    faster than the services that still use the old one.
    """
    cluster.empty()
    for count in (6, 16, shards):
        for name in map(cluster_shards(count).record, range(count)):
            cluster.master_of(slot_of(name)).ask("SET", name, shards)


async def key_whose_queue_ends(books: Books, new: Shards) -> str:
    """A key of an account whose shard has a name that no new shard has."""
    old = shards_of(books.redis)
    while True:
        user_id = await books.add_account()
        if old.tags[old.of(user_id)] not in new.tags:
            return await books.add_key(user_id)


async def test_a_call_under_way_while_the_number_of_shards_changes_is_posted_by_the_new_one(
    upstream: Upstream,
    module_mongo_uri: str,
    own_books: Books,
    settings: Settings,
    settings_with: SettingsWith,
    cluster_session: Cluster,
) -> None:
    """No worker would look into the queue that its shard had."""
    turnstile = Turnstile(upstream, expected=1)
    secret = await key_whose_queue_ends(own_books, cluster_shards(4))
    async with open_gateway(settings) as gateway:
        under_way = asyncio.create_task(status(gateway, secret))
        await turnstile.full()
        divide(cluster_session, 4)
        turnstile.open.set()
        assert await under_way == 200
        assert file_count(settings) == 1

        async def says_so() -> bool:
            ready = await gateway.http.get("/ready")
            check = ready.json()["checks"]["redis"]
            return ready.status_code == 503 and "divided into 4 shards" in check

        await eventually(says_so)
        assert await status(gateway, secret) == 200
    url = f"{cluster_session.url}?shards=4"
    changed = settings_with(redis_url=Secret(url), spool_dir=settings.spool_dir)
    try:
        async with open_books(module_mongo_uri, url) as books, open_gateway(changed) as gateway:

            async def is_drained() -> bool:
                return file_count(changed) == 0

            await eventually(is_drained)
            calls = [each.call_id for each in await books.events(secret) if each.status == "ok"]
            assert len(calls) == len(set(calls)) == 2
    finally:
        cluster_session.empty()


def _has_all(replica: Node, master: Node) -> bool:
    offsets = master.ask("INFO")["master_repl_offset"], replica.ask("INFO")["slave_repl_offset"]
    return bool(offsets[0] == offsets[1])
