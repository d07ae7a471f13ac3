"""A client that a generator makes of the OpenAPI document alone can drive the service."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from libs.common.storage.mongo.driver import Database
from libs.common.storage.mongo.ledger import LedgerStore
from tests.service.admin.conftest import ADMIN_KEY
from tests.service.admin.test_usage import entry
from tests.support.sockets import serving

_PACKAGE = "generated_admin_client"


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as url:
        yield url


@pytest.fixture
async def package(url: str, tmp_path: Path) -> AsyncIterator[Any]:
    """Imports a module of the client by its name in it."""
    async with httpx2.AsyncClient() as http:
        document = (await http.get(f"{url}/openapi.json")).content
    (tmp_path / "openapi.json").write_bytes(document)
    generator = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("openapi-python-client"),
        *("generate", "--path", "openapi.json", "--output-path", _PACKAGE, "--meta", "none"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await generator.communicate())[0].decode()
    assert generator.returncode == 0, output
    # NDJSON is not among the kinds of answers that the generator knows.
    assert output.count("WARNING") <= output.count("Unsupported content_type"), output
    sys.path.insert(0, str(tmp_path))
    try:
        yield lambda name: importlib.import_module(f"{_PACKAGE}.{name}")
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.split(".")[0] == _PACKAGE]:
            del sys.modules[name]


async def test_a_generated_client_drives_the_service(
    url: str, package: Any, database: Database
) -> None:
    models = package("models")

    def api(name: str) -> Any:
        return package(f"api.{name}").asyncio

    client = package("client").AuthenticatedClient(base_url=url, token=ADMIN_KEY)
    async with client:
        budget = models.BudgetBody(limit_usd=25.5, period=models.BudgetBodyPeriod.MONTHLY)
        account = await api("accounts.create_account")(
            client=client, body=models.NewAccount(user_id="a", budget=budget)
        )
        assert isinstance(account, models.AccountView)
        assert account.budgets[0].limit_usd == 25.5

        key = await api("keys.create_key")(client=client, body=models.NewKey(user_id="a"))
        assert isinstance(key, models.NewKeyView)
        assert key.api_key.startswith(key.prefix)

        price = await api("costs.create_cost")(
            client=client,
            body=models.NewCost(
                model="house/m",
                provider="acme",
                input_cost_per_million=0.15,
                output_cost_per_million=3,
            ),
        )
        assert isinstance(price, models.NewCostView)
        assert (price.input_cost_per_million, price.replaces) == (0.15, [])

        await LedgerStore(database).post([entry(1)])
        usage = await api("usage.list_usage")(client=client, user_id="a")
        assert isinstance(usage, models.EntryViewPage)
        assert [each.cost_usd for each in usage.data] == [0.01017115]

        accounts = await api("accounts.list_accounts")(client=client, limit=10)
        assert [each.user_id for each in accounts.data] == ["a"]

        again = await api("accounts.create_account")(
            client=client, body=models.NewAccount(user_id="a")
        )
        assert isinstance(again, models.Problem)
        assert (again.status, again.code) == (409, "conflict")
        assert [each.field for each in again.errors] == ["user_id"]
