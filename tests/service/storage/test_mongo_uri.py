"""Options in MONGO_URI: seen in the commands that reach the server, whatever the URI says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from libs.common.settings import SettingsError
from libs.common.storage.mongo.driver import (
    Database,
    Session,
    check_mongo_uri,
    in_transaction,
    open_database,
)
from tests.support.sent_commands import sent_commands

OIDC = "authMechanism=MONGODB-OIDC&authMechanismProperties="
WEAK = (
    "readPreference=secondaryPreferred&readPreferenceTags=dc:ny&maxStalenessSeconds=120"
    "&readConcernLevel=local&w=1&JOURNAL=false&wTimeoutMS=1&timeoutMS=1&fsync=true"
    "&tz_aware=false&uuidRepresentation=pythonLegacy&datetime_conversion=datetime_ms"
)


def the_only(commands: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    [command] = [command for command in commands if name in command]
    return command


async def use(database: Database) -> None:
    things = database["things"]

    async def work(session: Session) -> None:
        await things.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)

    await things.insert_one({"_id": 1})
    await things.find_one({"_id": 1})
    await in_transaction(database, work)


@pytest.mark.parametrize("options", ["", WEAK, WEAK.replace("&", ";")], ids=["none", "weak", ";"])
async def test_required_options_are_pinned(mongo_uri: str, options: str) -> None:
    uri = f"{mongo_uri}{'&' if '?' in mongo_uri else '?'}{options}".rstrip("?&")
    check_mongo_uri(uri)
    with sent_commands() as commands:
        async with open_database(uri) as database:
            await use(database)
    insert, find = the_only(commands, "insert"), the_only(commands, "find")
    assert insert["writeConcern"] == {"w": "majority", "j": True}
    assert "txnNumber" in insert, "a retryable write"
    assert find["readConcern"]["level"] == "majority"
    assert find.get("$readPreference", {"mode": "primary"})["mode"] in (
        "primary",
        "primaryPreferred",
    )
    assert the_only(commands, "update")["readConcern"]["level"] == "snapshot"
    assert the_only(commands, "commitTransaction")["writeConcern"] == {"w": "majority", "j": True}


async def test_the_rest_is_the_uris() -> None:
    options_of_uri = "maxPoolSize=7&connectTimeoutMS=300&serverSelectionTimeoutMS=400&appName=mine"
    for query, pool, connect_s, select_s, name in (
        (options_of_uri, 7, 0.3, 0.4, "mine"),
        ("replicaSet=rs", 50, 2.0, 2.0, "litellm-gateway"),
    ):
        async with open_database(f"mongodb://localhost/x?{query}") as database:
            options: Any = database.client.options
        assert options.pool_options.max_pool_size == pool
        assert options.pool_options.connect_timeout == connect_s
        assert options.server_selection_timeout == select_s
        assert options.pool_options.metadata["application"]["name"] == name
        assert options.read_preference.mode == 0
        assert options.codec_options.tz_aware
        assert options.timeout == 5


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("readPreference=secondaryPreferred&retryWrites=false", "retryWrites=false"),
        ("RETRYWRITES=False", "retryWrites=false"),
        ("maxPoolSize=0", "maxPoolSize=0"),
        ("authMechanism=MONGODB-AWS&authSource=$external", "pymongo-auth-aws"),
        ("authMechanism=MONGODB-OIDC", "ENVIRONMENT:k8s"),
        (f"{OIDC}ENVIRONMENT:moon", "ENVIRONMENT:k8s"),
        (f"{OIDC}ENVIRONMENT:gcp", "TOKEN_RESOURCE"),
        (f"{OIDC}ENVIRONMENT:azure,TOKEN_RESOURCE:", "TOKEN_RESOURCE"),
        ("tls=true&tlsCAFile=/no/such/ca.pem", "/no/such/ca.pem"),
        ("maxPoolSize=many", "maxpoolsize must be an integer"),
        ("retryWritez=true", "Unknown option"),
    ],
)
def test_an_unsupported_option_is_one_line(query: str, told: str) -> None:
    with pytest.raises(SettingsError, match="MONGO_URI is wrong") as refused:
        check_mongo_uri(f"mongodb://user:hush@host/x?{query}")
    assert told in str(refused.value)
    assert "hush" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "properties",
    ["ENVIRONMENT:k8s", "ENVIRONMENT:gcp,TOKEN_RESOURCE:db", "TOKEN_RESOURCE:x,ENVIRONMENT:azure"],
)
def test_a_login_by_the_place_where_it_runs(properties: str) -> None:
    check_mongo_uri(f"mongodb://host/x?{OIDC}{properties}")


def test_an_invalid_ca_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(SettingsError, match="MONGO_URI is wrong"):
        check_mongo_uri(f"mongodb://host/x?tls=true&tlsCAFile={tmp_path}/ca.pem")
