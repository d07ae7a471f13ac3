"""What compose's own check of its file cannot say."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.local.compose import PASSWORDS, SECRETS, STAND_IN_URL
from deploy.local.image_pins import default_images
from services.admin.settings import Settings as AdminSettings
from services.ledger_worker.settings import Settings as WorkerSettings
from tests.support import yaml_text

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml_text.read(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
USERS = {"gateway": "gateway", "admin": "admin", "ledger_worker": "worker"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    # Of the images that are made here, root is not the user either (see the Dockerfile).
    assert "build" in service or service["user"] == "999:999"
    for volume in service.get("volumes", ()):
        assert not volume.startswith((".", "/")) or volume.partition(":ro")[1], volume


def test_databases_and_the_stand_in_reach_nothing_outside() -> None:
    networks = COMPOSE["networks"]
    for name in ("mongo", "redis", "provider"):
        (network,) = SERVICES[name]["networks"]
        assert networks[network] == {"internal": True}
        assert "ports" not in SERVICES[name]


def test_only_the_gateway_can_reach_providers() -> None:
    shared = set(SERVICES["gateway"]["networks"]) - {"databases"}
    for name in ("admin", "ledger_worker", "mongo", "redis"):
        assert shared.isdisjoint(SERVICES[name]["networks"]), name


@pytest.mark.parametrize("name", USERS)
def test_each_service_has_database_users_of_its_own(name: str) -> None:
    environment, user = SERVICES[name]["environment"], USERS[name]
    for variable, store in (("MONGO_URI", "MONGO"), ("REDIS_URL", "REDIS")):
        secret = f"{store}_{user.upper()}_PASSWORD"
        assert f"//{user}:${{{secret}:?" in environment[variable]
        assert passwords_in(environment[variable]) == {secret}


def test_the_gateway_gets_no_other_secret_of_the_env_file() -> None:
    environment = SERVICES["gateway"]["environment"]
    assert {name for name in SECRETS if environment.get(name) == ""} == set(SECRETS)


def test_servers_get_only_the_passwords_of_their_users() -> None:
    for name in ("mongo", "redis"):
        of_its_users = {p for p in PASSWORDS if p.startswith(f"{name.upper()}_")}
        environment = SERVICES[name]["environment"]
        assert {p for p in PASSWORDS if p in environment} == of_its_users
        assert passwords_in(str(SERVICES[name])) == of_its_users


def test_no_password_is_hard_coded_or_in_a_command() -> None:
    for url in re.findall(r"(?:mongodb|redis)://\S+", TEXT):
        assert re.match(r"\w+://\w+:\$\{\w+_PASSWORD:\?", url), url
    assert "_PASSWORD:-" not in TEXT
    for name, service in SERVICES.items():
        commands = [service.get("command"), service.get("entrypoint"), service.get("healthcheck")]
        assert "PASSWORD" not in str(commands), name


def test_every_image_can_be_pinned() -> None:
    images = default_images()
    assert images.keys() == {"BASE_IMAGE", "MONGO_IMAGE", "REDIS_IMAGE"}
    for name in ("mongo", "redis"):
        variable = f"{name.upper()}_IMAGE"
        assert SERVICES[name]["image"] == f"${{{variable}:-{images[variable]}}}"
    assert f"ARG BASE={images['BASE_IMAGE']}\n" in (ROOT / "Dockerfile").read_text()
    for service in SERVICES.values():
        if "build" in service:
            assert service["build"]["args"] == {"BASE": f"${{BASE_IMAGE:-{images['BASE_IMAGE']}}}"}


def passwords_in(text: str) -> set[str]:
    return {password for password in PASSWORDS if f"${{{password}" in text}


@pytest.mark.parametrize(
    ("service", "settings", "its_own"),
    [
        (
            "ledger_worker",
            WorkerSettings,
            {"WORKER_NAME", "WORKER_GRACE_S", "WORKER_METRICS_HOST", "WORKER_METRICS_PORT"},
        ),
        ("admin", AdminSettings, {"ADMIN_HOST", "ADMIN_PORT", "SHUTDOWN_GRACE_S"}),
    ],
)
def test_compose_passes_the_environment_to_each_service(
    service: str, settings: type[msgspec.Struct], its_own: set[str]
) -> None:
    """The gateway reads all of `.env`; the others get their variables, and no provider's key."""
    variables = {field.name.upper() for field in msgspec.structs.fields(settings)}
    passed = set(SERVICES[service]["environment"])
    assert passed == variables - its_own - {"PRICE_MAP_PATH"}


def test_compose_agrees_with_the_command_that_starts_it() -> None:
    assert STAND_IN_URL == "http://provider:9000"
    assert SERVICES["provider"]["profiles"] == ["stand-in"]
    ports = SERVICES["admin"]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert {"mongo", "redis"}.isdisjoint(
        name for name, service in SERVICES.items() if "ports" in service
    )
