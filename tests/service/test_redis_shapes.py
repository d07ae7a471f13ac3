"""The services as processes on a Redis that managed services offer: each works, or says why not."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from pathlib import Path

import httpx2
import pytest
from redis import Redis
from structlog.testing import capture_logs

from deploy.local.environment import without_settings
from libs.common.storage.redis.client import open_redis
from libs.common.storage.redis.shards import cluster_shards
from libs.common.storage.redis.suitability import Right, check_suitable, listens, publishes
from tests.clusters import cluster
from tests.servers import HOST, ServerProcess, free_port, redis_server, running
from tests.support.polling import eventually_in_thread

pytestmark = pytest.mark.redis
SERVICES = ["gateway", "admin", "ledger_worker"]


def cluster_node(directory: Path) -> ServerProcess:
    # Its bus is 10,000 ports higher otherwise, where there may be none.
    bus = ("--cluster-port", str(free_port()))
    return redis_server(directory, "--cluster-enabled", "yes", *bus)


def environment(directory: Path, mongo_uri: str, redis_url: str) -> dict[str, str]:
    return {
        **without_settings(os.environ),
        "MONGO_URI": mongo_uri,
        "REDIS_URL": redis_url,
        "ADMIN_API_KEY": "a-key-that-is-long-enough-for-the-tests",
        "GATEWAY_HOST": HOST,
        "ADMIN_HOST": HOST,
        "WORKER_METRICS_PORT": "0",
        "SPOOL_DIR": str(directory / "spool"),
    }


def refusal(service: str, values: Mapping[str, str]) -> str:
    """What the start ends with; a log may come before it."""
    done = subprocess.run(
        (sys.executable, "-m", f"services.{service}"),
        env=values,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("service", SERVICES)
def test_a_cluster_is_refused_at_the_start(service: str, tmp_path: Path, mongo_uri: str) -> None:
    with running(cluster_node(tmp_path)) as server:
        with Redis.from_url(server.url) as node:
            node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        line = refusal(service, environment(tmp_path, mongo_uri, server.url))
    assert line.startswith(f"services.{service}: REDIS_URL names a node of a Redis Cluster")


@pytest.mark.parametrize("service", SERVICES)
def test_another_number_of_shards_is_refused_at_the_start(
    service: str, tmp_path: Path, mongo_uri: str
) -> None:
    with cluster(tmp_path, masters=1) as made:
        for name in map(cluster_shards(16).record, range(16)):
            made.masters[0].ask("SET", name, 8)
        url = f"{made.url}?shards=12"
        line = refusal(service, environment(tmp_path, mongo_uri, url))
    assert line == (
        f"services.{service}: REDIS_URL says shards=12, but the keys in this cluster are divided "
        "into 8 shards: write that number"
    )


async def test_a_cluster_that_comes_later_is_reported_by_ready(
    tmp_path: Path, mongo_uri: str
) -> None:
    for name in ("redis", "gateway"):
        (tmp_path / name).mkdir()
    server = cluster_node(tmp_path / "redis")
    port = free_port()
    values = environment(tmp_path, mongo_uri, server.url) | {"GATEWAY_PORT": str(port)}
    command = (sys.executable, "-m", "services.gateway")
    url = f"http://{HOST}:{port}"
    gateway = ServerProcess(url, command, port, tmp_path / "gateway", environment=values)

    def is_told() -> bool:
        answer = httpx2.get(f"{url}/ready", timeout=10)
        told: str = answer.json()["checks"]["redis"]
        return answer.status_code == 503 and "names a node of a Redis Cluster" in told

    with running(gateway), running(server):
        await eventually_in_thread(is_told)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "redis").mkdir()
    with running(redis_server(tmp_path / "redis")) as server:
        yield server


def as_user(server: ServerProcess, *rights: str) -> str:
    """The URL of a user that has these rights alone."""
    with Redis.from_url(server.url) as root:
        root.execute_command("ACL SETUSER", "app", "on", ">word", "resetchannels", *rights)
    return server.url.replace("//", "//app:word@")


KEYS = ("~gateway:*", "~arq:*", "+@all", "-@admin", "-@dangerous")


@pytest.mark.parametrize("service", ["gateway", "admin"])
@pytest.mark.parametrize(
    "rights",
    [("+info",), ("+info", "&gateway:*", "-@pubsub")],
    ids=["no channel", "no command"],
)
def test_a_user_without_the_channel_is_refused_at_the_start(
    service: str, rights: tuple[str, ...], server: ServerProcess, tmp_path: Path, mongo_uri: str
) -> None:
    url = as_user(server, *KEYS, *rights)
    line = refusal(service, environment(tmp_path, mongo_uri, url))
    assert line.startswith(f"services.{service}: REDIS_URL's user may not use the channel gateway:")
    assert "word" not in line


@pytest.mark.parametrize("right", [listens, publishes])
async def test_the_least_rights_suffice(right: Right, server: ServerProcess) -> None:
    url = as_user(server, *KEYS, "&gateway:*", "+info")
    async with open_redis(url) as redis:
        with capture_logs() as logs:
            await check_suitable(redis, right)
        assert not await redis.exists("gateway:invalidations")
    assert logs == []


async def test_a_user_without_info_is_logged_and_works(server: ServerProcess) -> None:
    url = as_user(server, *KEYS, "&gateway:*")
    with capture_logs() as logs:
        async with open_redis(url) as redis:
            await check_suitable(redis)
    assert [line["event"] for line in logs] == ["redis.info_refused"]


async def test_an_eviction_policy_is_logged(server: ServerProcess) -> None:
    with Redis.from_url(server.url) as root:
        root.config_set("maxmemory-policy", "volatile-lru")
    with capture_logs() as logs:
        async with open_redis(server.url) as redis:
            await check_suitable(redis)
    assert [(line["event"], line["policy"]) for line in logs] == [
        ("redis.may_evict", "volatile-lru")
    ]


async def test_publishing_is_checked_without_a_message(server: ServerProcess) -> None:
    """A gateway could not read it, and would log an error."""
    async with open_redis(server.url) as redis, aclosing(redis.pubsub()) as pubsub:
        await pubsub.subscribe("gateway:invalidations")
        await pubsub.get_message(timeout=5)
        await publishes(redis)
        await redis.publish("gateway:invalidations", "next")
        message = await pubsub.get_message(timeout=5)
    assert message is not None
    assert message["data"] == b"next"


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("form", ["rediss://:word@host", "rediss+sentinel://:word@host/mymaster"])
@pytest.mark.parametrize("content", [None, "nonsense"])
def test_a_certificate_that_cannot_be_used_is_one_line(
    service: str, form: str, content: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    url = f"{form}?ssl_ca_certs={path}"
    line = refusal(service, environment(tmp_path, "mongodb://127.0.0.1:1/x", url))
    assert "REDIS_URL is wrong: the file of ssl_ca_certs cannot be used" in line
    assert "word" not in line
