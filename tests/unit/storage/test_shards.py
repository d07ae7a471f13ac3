"""The names of keys by shard: a name that changes would lose what is stored under it."""

import binascii
from collections import Counter

import pytest
from redis.asyncio import Redis

from libs.common.storage.redis.cluster import ClusterPool
from libs.common.storage.redis.cluster_client import Routed
from libs.common.storage.redis.shards import MAX_SHARDS, ONE, cluster_shards, shards_of
from libs.common.storage.redis.url import parse_cluster_url
from tests.support.sharding import slot_of

SLOTS = 16_384
USERS = [f"user-{number}" for number in range(4000)]


def test_the_slot_is_that_of_the_specification() -> None:
    assert binascii.crc_hqx(b"123456789", 0) == 0x31C3
    assert slot_of("foo") == 12182


def test_a_single_server_has_the_names_without_shards() -> None:
    assert ONE.count == 1
    assert ONE.of("acme") == 0
    assert ONE.root_of("acme") == "gateway:{acme}"
    assert ONE.name("gateway:queue", 0) == "gateway:queue"
    assert ONE.job_id("a1b2", 0) == "a1b2"


def test_the_names_on_a_cluster_never_change() -> None:
    four = cluster_shards(4)
    assert four.tags == ("3", "2", "1", "0")
    assert four.of("acme") == 2
    assert four.root_of("acme") == "gateway:{1}:{acme}"
    assert four.name("gateway:queue", 3) == "gateway:queue:{0}"
    assert four.job_id("a1b2", 3) == "{0}a1b2"
    sixteen = cluster_shards(16).tags
    assert binascii.crc32(",".join(sixteen).encode()) == 175812204, sixteen


@pytest.mark.parametrize("count", [1, 2, 3, 16, 100, MAX_SHARDS])
def test_each_shard_lies_in_its_own_equal_range_of_slots(count: int) -> None:
    shards = cluster_shards(count)
    assert shards.count == len(set(shards.tags)) == count
    places = [slot_of(shards.name("gateway:queue", n)) * count // SLOTS for n in range(count)]
    assert places == list(range(count))


def test_all_names_of_a_shard_lie_in_one_slot() -> None:
    shards = cluster_shards(16)
    for user in ("acme", "a:b", "a@b.c", "7"):
        shard = shards.of(user)
        names = (
            shards.root_of(user),
            shards.root_of(user) + ":held",
            shards.name("gateway:queue", shard),
            "arq:job:" + shards.job_id("a1b2", shard),
            "arq:in-progress:" + shards.job_id("a1b2", shard),
        )
        assert len({slot_of(name) for name in names}) == 1


def test_accounts_are_spread_over_all_shards() -> None:
    per_shard = Counter(map(cluster_shards(16).of, USERS))
    assert len(per_shard) == 16
    assert max(per_shard.values()) < 1.3 * len(USERS) / 16


def test_no_two_accounts_share_a_name() -> None:
    """An account's id may have colons, and an object's id is whatever a provider makes up."""
    one = cluster_shards(1)
    assert one.root_of("a") + ":object:x:held" != one.root_of("a:object:x") + ":held"


@pytest.mark.parametrize("count", [-1, 0, MAX_SHARDS + 1])
def test_a_number_out_of_range_is_rejected(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 1024 shards, not {count}"):
        cluster_shards(count)


def test_every_client_of_a_cluster_has_its_shards() -> None:
    assert shards_of(Redis()) is ONE
    pool = ClusterPool(parse_cluster_url("redis+cluster://one?shards=2"))
    for client in (Routed(connection_pool=pool), Redis(connection_pool=pool)):
        assert shards_of(client) == cluster_shards(2)
