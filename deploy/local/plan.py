"""Which servers a stack consists of, in the order in which they start."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from deploy.local.environment import needs_stand_in, without_settings
from deploy.local.errors import StackError
from deploy.local.servers import (
    Server,
    http_service,
    mongo_server,
    provider_server,
    redis_server,
    stand_in_settings,
    worker_service,
)

# Shorter than the stack's deadline for SIGKILL, so that each service ends by itself.
GRACE_S = 10
HIGHEST_PORT = 65_535


class StackPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The services start once the backing servers answer, and stop before them."""

    backing: list[Server]
    services: list[Server]
    mongo_uri: str
    redis_url: str
    provider_url: str
    admin_api_key: str

    @property
    def servers(self) -> list[Server]:
        return [*self.backing, *self.services]


def make_plan(
    *,
    environment: Mapping[str, str],
    data: Path,
    admin_api_key: str,
    gateways: int,
    workers: int,
    port_of: Callable[[str], int],
) -> StackPlan:
    """Settings in the environment win. A database that it names replaces the stack's own."""
    machine = without_settings(environment)
    values = {
        "ADMIN_API_KEY": admin_api_key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LOG_FORMAT": "console",
        "PYTHONUNBUFFERED": "1",
        "SHUTDOWN_GRACE_S": str(GRACE_S),
        "WORKER_GRACE_S": str(GRACE_S),
        **environment,
    }
    backing: list[Server] = []
    provider_url = ""
    if "MONGO_URI" not in values:
        backing.append(mongo_server(machine, port_of("mongo"), data))
        values["MONGO_URI"] = backing[-1].url
    if "REDIS_URL" not in values:
        backing.append(redis_server(machine, port_of("redis"), data))
        values["REDIS_URL"] = backing[-1].url
    if needs_stand_in(values):
        backing.append(provider_server(machine, port_of("provider")))
        provider_url = backing[-1].url
        values |= stand_in_settings(provider_url)
    services = [
        worker_service(name, values, port_of(name)) for name in replicas("ledger_worker", workers)
    ]
    gateway_servers = []
    for name in replicas("gateway", gateways):
        settings = {**values, "SPOOL_DIR": _spool(values, name, data, shared=gateways > 1)}
        gateway_servers.append(http_service(name, "gateway", settings, port_of(name)))
    # The environment may hold the GATEWAY_URL of an earlier start, with another port.
    to_gateway = {"GATEWAY_URL": gateway_servers[0].url} if gateway_servers else {}
    services.append(http_service("admin", "admin", values | to_gateway, port_of("admin")))
    services += gateway_servers
    return StackPlan(
        backing=backing,
        services=services,
        mongo_uri=values["MONGO_URI"],
        redis_url=values["REDIS_URL"],
        provider_url=provider_url,
        admin_api_key=values["ADMIN_API_KEY"],
    )


def replicas(name: str, count: int) -> list[str]:
    return [name, *(f"{name}-{number}" for number in range(2, count + 1))][:count]


def chosen_port(environment: Mapping[str, str], variable: str, default: int) -> int:
    text = environment.get(variable, str(default))
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_PORT:
        raise StackError(f"{variable} must be a port from 1 to {HIGHEST_PORT}, not {text!r}")
    return int(text)


def _spool(values: Mapping[str, str], name: str, data: Path, *, shared: bool) -> str:
    """A spool belongs to one process: replicas that share SPOOL_DIR get a folder each in it."""
    spool_dir = values.get("SPOOL_DIR")
    if spool_dir is None:
        return str(data / "spool" / name)
    return str(Path(spool_dir) / name) if shared else spool_dir
