from collections.abc import Mapping
from itertools import count
from pathlib import Path

from deploy.local.plan import StackPlan, make_plan
from deploy.local.servers import STAND_IN_KEY, launch_of


def plan_of(
    data: Path, environment: Mapping[str, str], *, gateways: int = 1, workers: int = 1
) -> StackPlan:
    numbers = count(30_001)
    ports: dict[str, int] = {}
    return make_plan(
        environment=environment,
        data=data,
        admin_api_key="generated",
        gateways=gateways,
        workers=workers,
        port_of=lambda name: ports.setdefault(name, next(numbers)),
    )


def test_the_default_stack_has_databases_and_a_stand_in(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"PATH": "/bin"})
    assert [server.name for server in plan.backing] == ["mongo", "redis", "provider"]
    assert [server.name for server in plan.services] == ["ledger_worker", "admin", "gateway"]
    environment = plan.services[-1].launch.environment
    assert environment["OPENAI_API_KEY"] == environment["ANTHROPIC_API_KEY"] == STAND_IN_KEY
    assert environment["OPENAI_BASE_URL"] == f"{plan.provider_url}/v1"
    assert environment["ANTHROPIC_BASE_URL"] == plan.provider_url
    assert environment["MONGO_URI"] == plan.mongo_uri
    assert environment["REDIS_URL"] == plan.redis_url
    assert plan.admin_api_key == "generated"


def test_a_provider_key_replaces_the_stand_in(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"ANTHROPIC_API_KEY": "real"})
    assert [server.name for server in plan.backing] == ["mongo", "redis"]
    assert plan.provider_url == ""
    environment = plan.services[-1].launch.environment
    assert environment["ANTHROPIC_API_KEY"] == "real"
    assert "OPENAI_API_KEY" not in environment


def test_configured_databases_are_used(tmp_path: Path) -> None:
    environment = {"MONGO_URI": "mongodb://m/x", "REDIS_URL": "redis://r", "OPENAI_API_KEY": "k"}
    plan = plan_of(tmp_path, environment)
    assert plan.backing == []
    assert (plan.mongo_uri, plan.redis_url) == ("mongodb://m/x", "redis://r")


def test_the_admin_service_gets_the_url_of_this_stacks_gateway(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"GATEWAY_URL": "http://127.0.0.1:1"}, gateways=2)
    admin, gateway = plan.services[1:3]
    assert admin.launch.environment["GATEWAY_URL"] == gateway.url


def test_backing_servers_get_no_secret(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, {"PATH": "/bin", "ADMIN_API_KEY": "secret"})
    assert all(server.launch.environment == {"PATH": "/bin"} for server in plan.backing)


def test_replicas_share_neither_port_nor_spool(tmp_path: Path) -> None:
    for spool in ({}, {"SPOOL_DIR": str(tmp_path / "given")}):
        plan = plan_of(tmp_path, spool, gateways=3, workers=2)
        names = [server.name for server in plan.services]
        assert names == [
            "ledger_worker",
            "ledger_worker-2",
            "admin",
            "gateway",
            "gateway-2",
            "gateway-3",
        ]
        workers = [server.launch for server in plan.services[:2]]
        assert len({launch.environment["WORKER_NAME"] for launch in workers}) == 2
        assert len({launch.environment["WORKER_METRICS_PORT"] for launch in workers}) == 2
        gateways = [server.launch for server in plan.services[3:]]
        assert len({launch.port for launch in gateways}) == 3
        assert len({launch.environment["SPOOL_DIR"] for launch in gateways}) == 3
        assert [launch.environment["GATEWAY_PORT"] for launch in gateways] == [
            str(launch.port) for launch in gateways
        ]


def test_a_changed_service_has_another_digest() -> None:
    def digest(*command: str, **environment: str) -> str:
        return launch_of("x", command, environment).digest

    first = digest("run", LOG_LEVEL="info")
    assert digest("run", LOG_LEVEL="info", WINDOWID="7") == first
    assert digest("run", LOG_LEVEL="debug") != first
    assert digest("run", "more", LOG_LEVEL="info") != first
