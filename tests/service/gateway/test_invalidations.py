"""What an administrator changes is obeyed as soon as it is announced."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from libs.common.domain.ids import secret_hash
from libs.common.domain.price_lookup import PATTERNS
from libs.common.schemas.invalidation import Invalidation, InvalidationKind
from libs.common.schemas.key import OldSecret
from libs.common.settings import Secret
from libs.common.storage.redis.invalidation import publish
from tests.servers import redis_server, running
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT
from tests.service.gateway.stage import Client, open_gateway
from tests.service.gateway.upstream import Upstream
from tests.support.books import Books, open_books
from tests.support.polling import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def announce(books: Books, kind: InvalidationKind, name: str) -> None:
    """Again and again until a gateway listens, which it may not do at once after its start."""

    async def somebody_listens() -> bool:
        return bool((await books.redis.pubsub_numsub("gateway:invalidations"))[0][1])

    await eventually(somebody_listens)
    await publish(books.redis, Invalidation(kind=kind, id=name))


async def status_becomes(gateway: Client, secret: str, status: int, model: str) -> None:
    async def is_obeyed() -> bool:
        response = await gateway.post(CHAT.path, secret, CHAT.body(model=model))
        return response.status_code == status

    await eventually(is_obeyed)


async def test_a_revoked_key_is_refused(gateway: Client, upstream: Upstream, books: Books) -> None:
    upstream.answers(CHAT.answer)
    secret = await books.add_key()
    assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200
    key = await books.keys.get_by_hash(secret_hash(secret))
    assert key is not None
    await books.keys.update(key.key_id, {"status": "revoked"}, datetime.now(UTC))
    # Until it is told, it knows what it knew.
    assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200

    await announce(books, "key", key.secret_hash)

    await status_becomes(gateway, secret, 401, CHAT.model)


async def test_old_secrets_of_a_key_work_until_their_time(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer)
    now, hour = datetime.now(UTC), timedelta(hours=1)
    old = {name: now + hours * hour for name, hours in (("ended", -1), ("in-grace", 1))}
    account = await books.add_account(limit_usd="1")
    secret = await books.add_key(
        account,
        old_secrets=tuple(
            OldSecret(prefix=name, secret_hash=secret_hash(f"{name}-{account}"), until=until)
            for name, until in old.items()
        ),
    )
    keys = set()
    for valid_secret in (secret, f"in-grace-{account}", secret):
        assert (await gateway.post(CHAT.path, valid_secret, CHAT.body())).status_code == 200
        key = await books.keys.get_by_hash(secret_hash(valid_secret))
        assert key is not None
        keys.add(key.key_id)
    assert len(keys) == 1
    refused = await gateway.post(CHAT.path, f"ended-{account}", CHAT.body())
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "api_key_expired")
    assert "This secret was replaced" in refused.text


async def test_a_key_created_after_its_first_use_is_accepted(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    """That a key is unknown is remembered too."""
    upstream.answers(CHAT.answer)
    template = await books.add_key()
    key = await books.keys.get_by_hash(secret_hash(template))
    assert key is not None
    new_key = msgspec.structs.replace(key, key_id="new-key", secret_hash=secret_hash("sk-gw-new"))
    assert (await gateway.post(CHAT.path, "sk-gw-new", CHAT.body())).status_code == 401
    await books.keys.insert(new_key)
    assert (await gateway.post(CHAT.path, "sk-gw-new", CHAT.body())).status_code == 401

    await announce(books, "key", new_key.secret_hash)

    await status_becomes(gateway, "sk-gw-new", 200, CHAT.model)


async def test_a_suspended_account_is_refused(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer)
    user_id = await books.add_account()
    secret = await books.add_key(user_id)
    assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200
    await books.accounts.update(user_id, {"status": "suspended"}, datetime.now(UTC))

    await announce(books, "account", user_id)

    await status_becomes(gateway, secret, 403, CHAT.model)


async def test_a_new_price_takes_effect(gateway: Client, upstream: Upstream, books: Books) -> None:
    upstream.answers(CHAT.answer)
    secret = await books.add_key()
    body = CHAT.body(model="openai/newly-priced")
    assert (await gateway.post(CHAT.path, secret, body)).status_code == 400
    await books.set_price("newly-priced", input_usd="1", output_usd="1")
    assert (await gateway.post(CHAT.path, secret, body)).status_code == 400

    await announce(books, "price", "newly-priced")

    await status_becomes(gateway, secret, 200, "openai/newly-priced")


async def test_a_new_pattern_prices_the_models_that_it_covers(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer)
    secret = await books.add_key()
    tuned = "ft:patterned-1:acme::Abc123"
    assert (await gateway.post(CHAT.path, secret, CHAT.body(model=tuned))).status_code == 400
    await books.set_price("ft:patterned-?*", input_usd="1", output_usd="1")

    await announce(books, "price", PATTERNS)

    await status_becomes(gateway, secret, 200, tuned)


async def test_changes_during_a_redis_outage_take_effect_after_it(
    upstream: Upstream,
    settings_with: SettingsWith,
    module_mongo_uri: str,
    tmp_path: Path,
) -> None:
    """Nobody hears it, so everything is forgotten when the connection is back."""
    upstream.answers(CHAT.answer)
    with running(redis_server(tmp_path)) as redis:
        settings = settings_with(redis_url=Secret(redis.url))
        async with (
            open_books(module_mongo_uri, redis.url) as books,
            open_gateway(settings) as gateway,
        ):
            user_id = await books.add_account()
            secret = await books.add_key(user_id)
            assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200
            redis.kill()
            await books.accounts.update(user_id, {"status": "suspended"}, datetime.now(UTC))
            assert (await gateway.post(CHAT.path, secret, CHAT.body())).status_code == 200

            redis.start()

            await status_becomes(gateway, secret, 403, CHAT.model)
