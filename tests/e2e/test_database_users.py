"""The three services as processes, each with the database users of `deploy/databases`."""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient

from deploy.local.client import StackClient
from deploy.local.environment import without_settings
from deploy.local.process import Supervisor
from deploy.local.readiness import await_ready
from deploy.local.servers import (
    DATABASE,
    Server,
    http_service,
    provider_server,
    stand_in_settings,
    worker_service,
)
from tests.servers import ServerProcess, free_port, running
from tests.support.polling import eventually_in_thread
from tests.users import (
    PASSWORD,
    READS,
    ROLES,
    as_user,
    forbidden,
    mongo_server_with_users,
    profile,
    profiled_commands,
    redis_server_with_users,
)

USER_ID = "alice"
MODEL = "gpt-4.1-mini"
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
# The catalogue of the stand-in has it, LiteLLM's map does not.
UNPRICED = "openai/by-output"
# Reached where MongoDB is a sharded cluster alone.
_OF_SHARDED_CLUSTERS = {"zones"}


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """Two clients, the processes, and who sees all of MongoDB."""

    admin: StackClient
    gateway_url: str
    supervisor: Supervisor
    root: MongoClient[Any]
    redis: ServerProcess

    def log(self, name: str) -> str:
        return self.supervisor.log_path(name).read_text(errors="replace")

    def entries(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.admin.expect(
            "GET", f"/admin/usage/user/{USER_ID}?limit=200"
        )["data"]
        return rows


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("users")
    mongo = mongo_server_with_users(tmp_path_factory.mktemp("mongo"), database=DATABASE)
    redis = redis_server_with_users(tmp_path_factory.mktemp("redis"))
    supervisor = Supervisor(directory)
    admin_key = secrets.token_urlsafe(24)
    with running(mongo), running(redis), MongoClient[Any](mongo.url) as root:
        profile(root, DATABASE)
        servers = _servers(directory, mongo, redis, admin_key)
        try:
            for server in servers:
                supervisor.spawn(server.launch)
            await_ready({s.name: s.probe for s in servers}, supervisor, timeout_s=60)
            urls = {server.name: server.url for server in servers}
            yield Stack(
                admin=StackClient(urls["admin"], admin_key),
                gateway_url=urls["gateway"],
                supervisor=supervisor,
                root=root,
                redis=redis,
            )
        finally:
            for server in reversed(servers):
                supervisor.stop(server.name, 20)


def _servers(
    directory: Path, mongo: ServerProcess, redis: ServerProcess, admin_key: str
) -> list[Server]:
    provider = provider_server(without_settings(os.environ), free_port())
    gateway_port = free_port()
    common = {
        **without_settings(os.environ),
        **stand_in_settings(provider.url),
        "ADMIN_API_KEY": admin_key,
        "GATEWAY_URL": f"http://127.0.0.1:{gateway_port}",
        "ALERT_ALLOWED_HOSTS": "127.0.0.1:9",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "SPOOL_DIR": str(directory / "spool"),
        "WORKER_REPRICE_S": "1",
        "WORKER_VERIFY_S": "1",
        "WORKER_SWEEP_S": "1",
    }

    def environ_of(user: str) -> dict[str, str]:
        uri = as_user(mongo.url, user).replace("/test?", f"/{DATABASE}?")
        url = redis.url.replace("//", f"//{user}:{PASSWORD}@")
        return {**common, "MONGO_URI": uri, "REDIS_URL": url}

    return [
        provider,
        worker_service("ledger_worker", environ_of("worker"), free_port()),
        http_service("admin", "admin", environ_of("admin"), free_port()),
        http_service("gateway", "gateway", environ_of("gateway"), gateway_port),
    ]


async def test_each_service_works_with_the_permissions_of_its_users(stack: Stack) -> None:
    admin = stack.admin
    secret = _configure(admin)
    # As an earlier release left it: what it spent may be in a collection of its own.
    stack.root[DATABASE]["accounts"].update_one({"_id": USER_ID}, {"$set": {"entries": 0}})
    gateway = StackClient(stack.gateway_url, secret)
    calls = _call(gateway)
    await eventually_in_thread(lambda: len(stack.entries()) == calls)
    _look_around(gateway)
    await _correct(stack)
    await _lose_a_price(stack, gateway)
    await _lose_an_account(stack, gateway)
    await _delete(stack)

    sent = {user: profiled_commands(stack.root, DATABASE, user) for user in ROLES}
    assert {command for command, _ in sent["gateway"]} <= READS
    for user, commands in sent.items():
        assert list(forbidden(commands, user)) == [], user
        unused = _granted(user) - {collection for _, collection in commands} - _OF_SHARDED_CLUSTERS
        assert unused == set(), f"{user} need not reach {unused}"
    for name in ("gateway", "admin", "ledger_worker"):
        log = stack.log(name).lower()
        assert "not authorized" not in log, name
        assert "noperm" not in log, name
        assert "no permissions" not in log, name


def _granted(user: str) -> set[str]:
    return {collection for rule in ROLES[user] for collection in rule["collections"]}


def _configure(admin: StackClient) -> str:
    budgets = [{"limit_usd": 10, "period": period} for period in ("total", "daily")]
    admin.expect("POST", "/admin/accounts", {"user_id": USER_ID, "budgets": budgets})
    admin.expect("PATCH", f"/admin/accounts/{USER_ID}", {"name": "Alice"})
    admin.expect("GET", "/admin/accounts")
    key = {
        "user_id": USER_ID,
        "recording": {"retention_days": 1},
        "budgets": [{"limit_usd": 5, "period": "monthly"}],
    }
    answer = admin.expect("POST", "/admin/keys", key)
    admin.expect("PATCH", f"/admin/keys/{answer['key_id']}", {"name": "Hers"})
    admin.expect("POST", "/admin/costs/import", {"provider": "openai", "dry_run": False})
    _watch(admin)
    person = admin.expect("POST", "/admin/people", {"name": "Ada", "role": "viewer"})
    admin.expect("DELETE", f"/admin/people/{person['person_id']}")
    route = {"model": "fast", "deployments": [{"model": "openai/gpt-4.1-mini"}]}
    admin.expect("POST", "/admin/models", route)
    return str(answer["api_key"])


def _watch(admin: StackClient) -> None:
    """Nobody listens at the receivers' address."""
    path = "/admin/alerts/receivers"
    receiver = {"url": "https://127.0.0.1:9/", "kinds": ["entry.unpriced"]}
    view = admin.expect("POST", path, receiver)
    admin.expect("PATCH", f"{path}/{view['receiver_id']}", {"name": "ops"})
    alert = admin.expect("POST", f"{path}/{view['receiver_id']}/test")
    admin.expect("POST", f"/admin/alerts/{alert['alert_id']}/replay")
    admin.expect("GET", "/admin/alerts")
    other_view = admin.expect("POST", path, receiver)
    admin.expect("POST", f"{path}/{other_view['receiver_id']}/test")
    admin.expect("DELETE", f"{path}/{other_view['receiver_id']}")


def _call(gateway: StackClient) -> int:
    """How many entries the calls will have."""
    chat = {"model": "fast", **CHAT}
    gateway.expect("POST", "/v1/chat/completions", chat)
    assert list(gateway.stream("/v1/chat/completions", {**chat, "stream": True}))
    answer = gateway.expect("POST", "/v1/responses", {"model": MODEL, "input": "Hi", "store": True})
    # The stand-in keeps none; the gateway finds whose it is and asks.
    assert gateway.call("GET", f"/v1/responses/{answer['id']}")[0] == 404
    messages = {"model": "claude-haiku-4-5", "max_tokens": 9, **CHAT}
    gateway.expect("POST", "/v1/messages", messages)
    gateway.expect("POST", "/v1/messages/count_tokens", messages)
    return 6


def _look_around(gateway: StackClient) -> None:
    """A response that only the ledger still knows, the models, the budget and the usage."""
    assert gateway.call("GET", "/v1/responses/resp_unknown")[0] == 404
    gateway.expect("GET", "/v1/models")
    gateway.expect("GET", "/v1/budget")
    gateway.expect("GET", "/v1/usage")


async def _correct(stack: Stack) -> None:
    admin = stack.admin
    charged_entry = next(entry for entry in stack.entries() if entry["cost_usd"] > 0)
    refund = {
        "user_id": USER_ID,
        "kind": "refund",
        "entry_id": charged_entry["entry_id"],
        "amount_usd": -charged_entry["cost_usd"],
        "reason": "test",
        "idempotency_key": "refund-1",
    }
    body = {**refund, "amount_usd": float(refund["amount_usd"])}
    admin.expect("POST", "/admin/ledger/corrections", body)
    admin.expect("POST", "/admin/ledger/corrections", body)
    await eventually_in_thread(lambda: any(entry["kind"] == "refund" for entry in stack.entries()))
    for query in ("", "?full=true"):
        assert admin.expect("GET", f"/admin/ledger/verify{query}")["ok"]
    assert admin.expect("GET", "/admin/audit/verify")["ok"]
    assert admin.expect("GET", "/admin/ledger/health")["dead_letters"] == 0


async def _lose_a_price(stack: Stack, gateway: StackClient) -> None:
    """As if gateway and worker did not agree: the entry waits until there is a price again."""
    price = {"model": UNPRICED, "input_cost_per_million": 1, "output_cost_per_million": 1}
    start = {"effective_from": "2026-01-01T00:00:00Z"}
    stack.admin.expect("POST", "/admin/costs", {**price, **start})
    with _paused_worker(stack):
        gateway.expect("POST", "/v1/chat/completions", {"model": UNPRICED, **CHAT})
        stack.root[DATABASE]["prices"].delete_many({"model": UNPRICED})
    await eventually_in_thread(
        lambda: any(entry["status"] == "unpriced" for entry in stack.entries())
    )
    stack.admin.expect("POST", "/admin/costs", {**price, **start})
    await eventually_in_thread(lambda: any(entry["kind"] == "reprice" for entry in stack.entries()))


async def _lose_an_account(stack: Stack, gateway: StackClient) -> None:
    """The call goes to the dead letters and is replayed once the account is there again."""
    accounts = stack.root[DATABASE]["accounts"]
    before = len(stack.entries())
    with _paused_worker(stack):
        gateway.expect("POST", "/v1/chat/completions", {"model": MODEL, **CHAT})
        account = accounts.find_one_and_delete({"_id": USER_ID})
    letters = "/admin/ledger/dead-letters"
    await eventually_in_thread(lambda: len(stack.admin.expect("GET", letters)["data"]) == 1)
    assert account is not None
    accounts.insert_one(account)
    assert stack.admin.expect("POST", f"{letters}/replay", {"all": True})
    await eventually_in_thread(lambda: len(stack.entries()) == before + 1)


async def _delete(stack: Stack) -> None:
    admin = stack.admin
    recordings = f"/admin/recordings?user_id={USER_ID}"
    await eventually_in_thread(lambda: bool(admin.expect("GET", recordings)["data"]))
    call_id = admin.expect("GET", recordings)["data"][0]["call_id"]
    admin.expect("DELETE", f"/admin/recordings/{call_id}")
    admin.expect("DELETE", recordings)
    admin.expect("PATCH", "/admin/models/fast", {"max_attempts": 1})
    admin.expect("DELETE", "/admin/models/fast")
    (version, *_) = admin.expect("GET", f"/admin/costs?model={UNPRICED}")["data"]
    admin.expect("DELETE", f"/admin/costs/{version['price_id']}")


@contextmanager
def _paused_worker(stack: Stack) -> Iterator[None]:
    stack.supervisor.signal("ledger_worker", signal.SIGSTOP)
    try:
        yield
    finally:
        stack.supervisor.signal("ledger_worker", signal.SIGCONT)
