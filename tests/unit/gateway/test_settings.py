import pytest

from libs.common.settings import SettingsError, load_settings
from services.gateway.cors import origins_of
from services.gateway.settings import Settings


def test_settings_that_may_hold_a_password_are_not_shown() -> None:
    environ = {
        "MONGO_URI": "mongodb://user:hush@host/gateway",
        "REDIS_URL": "redis://:hush@host",
        "OPENAI_API_KEY": "hush",
        "ANTHROPIC_API_KEY": "hush",
    }
    settings = load_settings(Settings, environ)
    assert settings.mongo_uri.reveal() == environ["MONGO_URI"]
    assert "hush" not in repr(settings)


ENVIRON = {"MONGO_URI": "mongodb://host/gateway", "REDIS_URL": "redis://host"}


def test_the_trailing_line_break_of_a_secret_file_is_stripped() -> None:
    settings = load_settings(Settings, ENVIRON | {"OPENAI_API_KEY": "sk-1\n"})
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.reveal() == "sk-1"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OPENAI_API_KEY", "sk-1\r\nx-admin: 1"),
        ("ANTHROPIC_API_KEY", "sk-\N{EN DASH}1"),
        ("OPENAI_BASE_URL", "http://pro\nvider/v1"),
        ("OPENAI_BASE_URL", "http://provider/a b"),
        ("ANTHROPIC_BASE_URL", "http://provider/\x00"),
        ("CORS_ALLOW_ORIGINS", "https://app.example.com/"),
        ("CORS_ALLOW_ORIGINS", "https://*.example.com"),
        ("CORS_ALLOW_ORIGINS", "https://App.example.com"),
        ("CORS_ALLOW_ORIGINS", "https://user@app.example.com"),
        ("CORS_ALLOW_ORIGINS", "ftp://app.example.com"),
    ],
)
def test_unusable_values_stop_the_start(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        load_settings(Settings, ENVIRON | {variable: value})
    assert value not in str(refused.value)


def test_a_header_that_is_never_forwarded_stops_the_start() -> None:
    environ = ENVIRON | {"UPSTREAM_REQUEST_HEADERS": "x-tenant, Authorization"}
    with pytest.raises(SettingsError, match="UPSTREAM_REQUEST_HEADERS is wrong: 'authorization'"):
        load_settings(Settings, environ)


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        (
            " https://a.example ,http://localhost:3000,",
            ("https://a.example", "http://localhost:3000"),
        ),
    ],
)
def test_allowed_origins_are_parsed(value: str, origins: tuple[str, ...]) -> None:
    settings = load_settings(Settings, ENVIRON | {"CORS_ALLOW_ORIGINS": value})
    assert origins_of(settings.cors_allow_origins) == origins
