"""A cluster that is reached over TLS alone, and whose nodes tell of each other by name.

Needs a server that is built with TLS.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.exceptions import RedisError

from libs.common.storage.readiness import check_writable
from libs.common.storage.redis.client import nodes_of, open_redis
from libs.common.storage.redis.pipelining import Pipelined
from libs.common.storage.redis.suitability import check_suitable, listens
from tests.clusters import Cluster, cluster, promote
from tests.service.storage.test_cluster import spread
from tests.support.certificates import Certificate


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("tls")
    certificate = Certificate(directory, "localhost").path
    with ExitStack() as stack:
        try:
            nodes = stack.enter_context(cluster(directory, replicas=True, certificate=certificate))
        except RuntimeError as error:
            if not re.search("Failed finding TLS support|Bad directive", str(error)):
                raise
            pytest.skip("this server has no TLS")
        yield nodes


async def test_commands_and_messages_by_way_of_each_node(over_tls: Cluster) -> None:
    keys = spread(over_tls)
    async with open_redis(over_tls.url) as redis:
        await check_suitable(redis, listens)
        await check_writable(redis)
        pipelined = Pipelined(redis)
        for number, key in enumerate(keys):
            await pipelined.run("SET", key, number)
        async with aclosing(redis.pubsub()) as pubsub:
            await pubsub.subscribe("channel")
            assert (await pubsub.get_message(timeout=10) or {})["type"] == "subscribe"
            for node in await nodes_of(redis):
                await node.publish("channel", "word")
                assert (await pubsub.get_message(timeout=10) or {})["data"] == b"word"
        promote(over_tls.replica_of(over_tls.masters[0]))
        assert await redis.mget(keys) == [b"0", b"1", b"2"]
        assert [await pipelined.run("INCR", key) for key in keys] == [1, 2, 3]


async def test_a_certificate_of_an_unknown_authority_is_rejected(
    over_tls: Cluster, tmp_path: Path
) -> None:
    other = Certificate(tmp_path, "localhost").path
    url = urlsplit(over_tls.url)._replace(query=f"ssl_ca_certs={other}").geturl()
    async with open_redis(url) as redis:
        with pytest.raises(RedisError, match="certificate"):
            await redis.get("key")
