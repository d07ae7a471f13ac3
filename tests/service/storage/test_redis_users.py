"""Redis as `deploy/databases/redis.sh` starts it: what its users may do, and what they may not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, OutOfMemoryError, ResponseError

from libs.common.storage.queue.event_queue import QUEUE
from libs.common.storage.redis.client import open_redis
from services.admin.console.session import BY_ISSUER, Sessions
from services.admin.people.actor import ROOT
from tests.servers import ServerProcess, running
from tests.unit.builders import NOW
from tests.users import PASSWORD, ROLES, redis_server_with_users

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running(redis_server_with_users(tmp_path_factory.mktemp("users"))) as server:
        yield server


def client(server: ServerProcess, user: str, password: str = PASSWORD) -> Redis:
    return Redis.from_url(server.url, username=user, password=password)


def test_ping_needs_no_password(server: ServerProcess) -> None:
    with Redis.from_url(server.url) as nobody:
        assert nobody.ping()
        for command in ("GET gateway:x", "SET gateway:x 1", "INFO", "ACL WHOAMI", "DBSIZE"):
            with pytest.raises(NoPermissionError):
                nobody.execute_command(*command.split())


@pytest.mark.parametrize("user", ROLES)
def test_a_user_needs_its_password(server: ServerProcess, user: str) -> None:
    with client(server, user, "another") as guesser, pytest.raises(AuthenticationError):
        guesser.ping()


@pytest.mark.parametrize("user", ROLES)
def test_a_service_has_its_keys_and_no_others(server: ServerProcess, user: str) -> None:
    with client(server, user) as service:
        for key in ("gateway:{alice}:spent", QUEUE):
            assert service.set(key, 1)
            assert service.delete(key) == 1
        assert service.eval("return redis.call('SET', KEYS[1], 1)", 1, "gateway:x") == b"OK"
        service.publish("gateway:invalidations", "x")
        assert service.info("memory")["maxmemory"] == 768 * 1024 * 1024
        for refused in ("SET other 1", "PUBLISH other x"):
            with pytest.raises(NoPermissionError):
                service.execute_command(*refused.split())
        with pytest.raises(ResponseError, match="ACL"):
            service.eval("return redis.call('SET', 'other', 1)", 0)


async def test_the_admin_service_keeps_sessions_of_the_console(server: ServerProcess) -> None:
    url = server.url.replace("://", f"://admin:{PASSWORD}@")
    async with open_redis(url) as redis:
        sessions = Sessions(redis)
        cookie, session = await sessions.begin(ROOT, BY_ISSUER, NOW)
        assert await sessions.find(cookie, NOW, by_itself=False) == session
        await sessions.end(cookie)
        assert await sessions.find(cookie, NOW, by_itself=True) is None


@pytest.mark.parametrize("user", ROLES)
@pytest.mark.parametrize(
    "command",
    [
        *("FLUSHALL", "FLUSHDB", "SHUTDOWN", "CONFIG GET requirepass", "CONFIG SET dir /"),
        *("ACL LIST", "CLIENT LIST", "KEYS *", "MONITOR", "SAVE"),
        *("REPLICAOF NO ONE", "MODULE LIST", "SWAPDB 0 1", "SLOWLOG GET"),
    ],
)
def test_no_service_administers_the_server(server: ServerProcess, user: str, command: str) -> None:
    with client(server, user) as service, pytest.raises(NoPermissionError):
        service.execute_command(*command.split())


def test_acknowledged_writes_survive_a_crash(tmp_path: Path) -> None:
    with running(redis_server_with_users(tmp_path)) as server:
        with client(server, "gateway") as gateway:
            gateway.set("gateway:x", "y")
        server.kill()
        server.start()
        with client(server, "worker") as worker:
            assert worker.get("gateway:x") == b"y"


def test_at_its_memory_limit_redis_refuses_and_evicts_nothing(tmp_path: Path) -> None:
    server = redis_server_with_users(tmp_path, REDIS_MAXMEMORY="8mb")
    with running(server), client(server, "gateway") as gateway:
        many = {f"gateway:{number}": b"x" * 1024 * 1024 for number in range(16)}
        with pytest.raises(OutOfMemoryError):
            [gateway.set(*item) for item in many.items()]
        assert gateway.get("gateway:0") is not None


def test_passwords_are_not_in_the_process_list_or_readable_by_others(tmp_path: Path) -> None:
    with running(redis_server_with_users(tmp_path)) as server:
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert b"redis" in command or b"valkey" in command
        assert PASSWORD.encode() not in command
        holding = [
            path
            for path in tmp_path.rglob("*")
            if path.is_file() and not path.is_symlink() and PASSWORD.encode() in path.read_bytes()
        ]
        assert [path.stat().st_mode & 0o777 for path in holding] == [0o600]
