import copy
import traceback
from typing import Annotated, Literal

import msgspec
import pytest

from libs.common.settings import Secret, SettingsError, load_or_exit, load_settings
from services.admin.settings import Settings as AdminSettings
from services.gateway.settings import Settings as GatewaySettings
from services.ledger_worker.settings import Settings as WorkerSettings

_HUSH = "sk-very-secret"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    mongo_uri: Secret
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8000
    ttl_s: float = 30.0
    level: Literal["debug", "info"] = "info"
    strict: bool = False
    provider_key: Secret | None = None
    path: str | None = None


def load(**environ: str) -> Settings:
    return load_settings(Settings, {"MONGO_URI": "mongodb://db"} | environ)


def test_a_field_is_read_from_its_name_in_capitals() -> None:
    settings = load(
        PORT="9000",
        TTL_S="1.5",
        LEVEL="debug",
        STRICT="true",
        PROVIDER_KEY=_HUSH,
        PATH="/spool",
        UNRELATED="whatever",
    )
    assert settings == Settings(
        mongo_uri=Secret("mongodb://db"),
        port=9000,
        ttl_s=1.5,
        level="debug",
        strict=True,
        provider_key=Secret(_HUSH),
        path="/spool",
    )


def test_an_unset_variable_has_its_default() -> None:
    assert load() == Settings(mongo_uri=Secret("mongodb://db"))


@pytest.mark.parametrize("environ", [{}, {"MONGO_URI": ""}])
def test_a_required_variable_must_be_set(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"^MONGO_URI is not set; see \.env\.example$"):
        load_settings(Settings, environ)


def test_an_empty_variable_is_an_unset_one() -> None:
    assert load(PORT="", PROVIDER_KEY="", PATH="") == load()


def test_text_that_looks_like_another_type_stays_text() -> None:
    assert load(PATH="123").path == "123"
    secret = load(PROVIDER_KEY="123").provider_key
    assert secret is not None
    assert secret.reveal() == "123"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("TTL_S", "soon"),
        ("LEVEL", "loud"),
        ("STRICT", "perhaps"),
    ],
)
def test_an_invalid_value_is_rejected_in_one_line_naming_the_variable(
    variable: str, value: str
) -> None:
    with pytest.raises(SettingsError, match=f"^{variable} is wrong: ") as raised:
        load(**{variable: value})
    assert "\n" not in str(raised.value)


def test_the_few_allowed_values_are_listed() -> None:
    with pytest.raises(SettingsError, match=r"^LEVEL is wrong: it must be debug or info$"):
        load(LEVEL=_HUSH)


def test_a_wrong_setting_ends_the_process_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as raised:
        load_or_exit(Settings, {"MONGO_URI": _HUSH, "PORT": "eighty"})
    message = raised.value.code
    assert isinstance(message, str)
    assert "PORT is wrong" in message
    assert "\n" not in message
    assert _HUSH not in message + capsys.readouterr().out


def test_a_secret_is_shown_only_on_request() -> None:
    secret = Secret(_HUSH)
    settings = load(PROVIDER_KEY=_HUSH)
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr(settings)):
        assert _HUSH not in text
    assert secret.reveal() == _HUSH
    with pytest.raises(TypeError):
        msgspec.json.encode(settings)


def test_no_traceback_shows_a_secret() -> None:
    class Strange(msgspec.Struct):
        # A type that the environment cannot be converted to.
        token: complex

    def shown(settings_type: type[msgspec.Struct], **environ: str) -> str:
        with pytest.raises((SettingsError, NotImplementedError)) as raised:
            load_settings(settings_type, environ)
        return "".join(traceback.TracebackException.from_exception(raised.value).format())

    assert _HUSH not in shown(Settings, MONGO_URI=_HUSH, PORT="x")
    assert _HUSH not in shown(Settings, PROVIDER_KEY=_HUSH)
    assert _HUSH not in shown(Strange, TOKEN=_HUSH)


def test_secrets_are_compared_by_their_values() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert copy.deepcopy(Secret("a")) == Secret("a")
    assert Secret("a")
    assert not Secret("")


# What is not wrong in the settings that the others are tried with.
SOUND = {
    "MONGO_URI": "mongodb://127.0.0.1:1/gateway",
    "REDIS_URL": "redis://127.0.0.1:1",
    "ADMIN_API_KEY": "a-key-of-an-operator-that-is-long-enough",
}
WRONG: dict[type[msgspec.Struct], list[tuple[str, str]]] = {
    GatewaySettings: [
        ("MONGO_URI", ""),
        ("MONGO_URI", "http://user:hush@host"),
        ("MONGO_URI", "mongodb://user:hush@host:port"),
        ("MONGO_URI", "mongodb://user:hu/sh@host"),
        ("REDIS_URL", "http://user:hush@host"),
        ("GATEWAY_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("ADMISSION_WITHOUT_REDIS", "perhaps"),
        ("OPENAI_BASE_URL", "localhost:8080/v1"),
        ("ANTHROPIC_BASE_URL", "https://user:hush@host"),
        ("CORS_ALLOW_ORIGINS", "app.example.com"),
    ],
    AdminSettings: [
        ("ADMIN_API_KEY", ""),
        ("ADMIN_API_KEY", "hush"),
        ("ADMIN_API_KEY_NEXT", "hush"),
        ("MONGO_URI", ""),
        ("MONGO_URI", "http://user:hush@host"),
        ("REDIS_URL", "http://user:hush@host"),
        ("ADMIN_PORT", "80 80"),
        ("ADMIN_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("GATEWAY_URL", "gateway:8000"),
        ("GATEWAY_URL", "http://user:hush@gateway"),
        ("GATEWAY_URL", "http://gateway:80000"),
    ],
    WorkerSettings: [
        ("MONGO_URI", ""),
        ("MONGO_URI", "mongodb://user:hush@[nowhere"),
        ("MONGO_URI", "http://hush@localhost"),
        ("REDIS_URL", ""),
        ("REDIS_URL", "http://hush@localhost"),
        ("REDIS_URL", "redis://:hush@localhost:no-port"),
        ("WORKER_MAX_JOBS", "0"),
        ("WORKER_JOB_TIMEOUT_S", "soon"),
        ("LOG_LEVEL", "loud"),
    ],
}


@pytest.mark.parametrize("settings_type", WRONG)
def test_no_service_starts_with_a_wrong_setting(settings_type: type[msgspec.Struct]) -> None:
    """Its process ends with one line that names the setting and shows no secret."""
    assert load_or_exit(settings_type, SOUND) is not None
    for variable, value in WRONG[settings_type]:
        with pytest.raises(SystemExit) as raised:
            load_or_exit(settings_type, SOUND | {variable: value})
        line = str(raised.value)
        assert variable in line, (variable, value)
        assert "\n" not in line, (variable, value)
        assert "hush" not in line, (variable, value)
        assert "sh@" not in line, (variable, value)
