"""A Redis Cluster of processes: masters, and a replica of each where a test wants it."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisError, ResponseError

from libs.common.storage.redis.key_slots import SLOTS
from tests.servers import HOST, ServerProcess, free_port, redis_server, reserved, running

_TIMEOUT_S = 30.0
_POLL_S = 0.02
# A busy machine is not taken for a dead master: tests promote a replica themselves.
_NODE_TIMEOUT_MS = 20_000
# As managed services do, whose nodes tell of each other by name: a certificate has no address.
_OVER_TLS = (
    *("--tls-cluster", "yes", "--cluster-announce-hostname", "localhost"),
    *("--cluster-preferred-endpoint-type", "hostname"),
)


class Node:
    """`id` is its name in the cluster, `bus` the port at which the nodes speak to each other."""

    def __init__(self, directory: Path, *options: str, certificate: Path | None = None) -> None:
        directory.mkdir()
        self.id = secrets.token_hex(20)
        self.bus = free_port()
        self.configuration = directory / "nodes.conf"
        self.server: ServerProcess = redis_server(
            directory,
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus)),
            *("--cluster-node-timeout", str(_NODE_TIMEOUT_MS)),
            *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
            # A slot without a node does not stop the others.
            *("--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no"),
            *(_OVER_TLS if certificate else ()),
            *options,
            certificate=certificate,
        )
        self.address = (HOST, self.server.port)

    def ask(self, *command: Any) -> Any:
        with Redis.from_url(self.server.url) as redis:
            return redis.execute_command(*command)

    def serves(self, slot: int) -> bool:
        """Whether the node itself says so."""
        try:
            ranges = self.ask("CLUSTER", "SLOTS")
        except RedisError:
            return False
        return any(
            start <= slot <= end and master[1] == self.server.port
            for start, end, master, *_ in ranges
        )


class Cluster:
    """Equal ranges of slots at each master. `url` is what REDIS_URL says."""

    def __init__(
        self,
        directory: Path,
        masters: int,
        *options: str,
        replicas: bool,
        certificate: Path | None = None,
    ) -> None:
        def nodes(role: str, count: int) -> list[Node]:
            directories = [directory / f"{role}-{n}" for n in range(count)]
            return [Node(path, *options, certificate=certificate) for path in directories]

        self._has_names = certificate is not None
        self.masters = nodes("master", masters)
        self.replicas = nodes("replica", masters if replicas else 0)
        self.nodes = [*self.masters, *self.replicas]
        urls = [urlsplit(node.server.url) for node in self.nodes]
        hosts = ",".join(url.netloc for url in urls)
        self.url = (
            urls[0]._replace(scheme=f"{urls[0].scheme}+cluster", netloc=hosts, path="").geturl()
        )

    def slots_of(self, place: int) -> tuple[int, int]:
        """The first and last slot that the master at that place was given."""
        count = len(self.masters)
        return place * SLOTS // count, (place + 1) * SLOTS // count - 1

    def write_configurations(self) -> None:
        """As if the nodes had met: that would take them seconds."""
        for node in self.nodes:
            lines = [f"{self._line_of(each, node)}\n" for each in self.nodes]
            ending = f"vars currentEpoch {len(self.masters)} lastVoteEpoch 0\n"
            node.configuration.write_text("".join(lines) + ending)

    def master_of(self, slot: int) -> Node:
        """A test may have promoted a replica, or moved the slot."""
        return next(node for node in self.nodes if node.serves(slot))

    def others(self, master: Node) -> list[Node]:
        """The other masters."""
        masters = {self.master_of(self.slots_of(place)[1]) for place in range(len(self.masters))}
        return [node for node in self.nodes if node in masters and node is not master]

    def replica_of(self, master: Node) -> Node:
        return next(
            node
            for node in self.nodes
            if node is not master and node.ask("INFO").get("master_port") == master.server.port
        )

    def empty(self) -> None:
        for node in self.nodes:
            if node.ask("INFO")["role"] == "master":
                node.ask("FLUSHALL")

    def is_whole(self) -> bool:
        """The masters take writes, and the replicas have what they had."""
        return all(
            node.ask("CLUSTER INFO")["cluster_state"] == "ok"
            and node.ask("INFO").get("master_link_status", "up") == "up"
            for node in self.nodes
        )

    def _line_of(self, node: Node, reader: Node) -> str:
        host, port = node.address
        own = "myself," if node is reader else ""
        name = ",localhost" if self._has_names else ""
        if node in self.masters:
            place = self.masters.index(node)
            first, last = self.slots_of(place)
            kind, slots = "master -", f" {first}-{last}"
        else:
            place = self.replicas.index(node)
            kind, slots = f"slave {self.masters[place].id}", ""
        return (
            f"{node.id} {host}:{port}@{node.bus}{name} {own}{kind} 0 0 {place + 1} connected{slots}"
        )


@contextlib.contextmanager
def cluster(
    directory: Path,
    *options: str,
    masters: int = 3,
    replicas: bool = False,
    certificate: Path | None = None,
) -> Iterator[Cluster]:
    """Killed at the end, whatever became of its nodes.

    With a `certificate` of `localhost`, over TLS, and the nodes tell of each other by name.
    """
    new_cluster = Cluster(directory, masters, *options, replicas=replicas, certificate=certificate)
    new_cluster.write_configurations()
    with contextlib.ExitStack() as stack:
        for node in new_cluster.nodes:
            # A killed node comes back to its ports.
            for port in (node.server.port, node.bus):
                stack.enter_context(reserved(port))
            stack.enter_context(running(node.server))
        until(new_cluster.is_whole)
        yield new_cluster


def move_slots(first: int, last: int, source: Node, target: Node) -> None:
    """Atomically, as Valkey 9 does: the source serves them until the target has all keys. Of older
    servers one slot after the other, key by key.
    """
    try:
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", target.id)
    except ResponseError as error:
        if "unknown subcommand" not in str(error).lower():
            raise
        for slot in range(first, last + 1):
            begin_to_move(slot, source, target)
            move_keys(slot, source, target)
            end_move(slot, source, target)
    until(lambda: target.serves(last))


def begin_to_move(slot: int, source: Node, target: Node) -> None:
    """Key by key, as older servers do: the source sends clients on for the keys that it lacks."""
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)


def move_keys(slot: int, source: Node, target: Node, *, most: int = 1000) -> None:
    keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, most)
    if keys:
        source.ask("MIGRATE", *target.address, "", 0, 5000, "KEYS", *keys)


def end_move(slot: int, source: Node, target: Node) -> None:
    for node in (target, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)


def promote(replica: Node) -> None:
    """Without a vote, as if its master was known to be lost."""
    replica.ask("CLUSTER", "FAILOVER", "TAKEOVER")
    until(lambda: replica.ask("INFO")["role"] == "master")


def hand_over(slot: int, replica: Node) -> None:
    """With its master's consent, which waits for it for five seconds: then it is asked again."""
    while not replica.serves(slot):
        replica.ask("CLUSTER", "FAILOVER")
        with contextlib.suppress(TimeoutError):
            until(lambda: replica.serves(slot), 6.0)


def until(condition: Callable[[], bool], limit_s: float = _TIMEOUT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(condition.__name__)
        time.sleep(_POLL_S)
