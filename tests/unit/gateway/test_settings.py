from libs.common.settings import load_settings
from services.gateway.settings import Settings


def test_what_may_hold_a_password_is_not_shown() -> None:
    environ = {
        "MONGO_URI": "mongodb://user:hush@host/gateway",
        "REDIS_URL": "redis://:hush@host",
        "OPENAI_API_KEY": "hush",
        "ANTHROPIC_API_KEY": "hush",
    }
    settings = load_settings(Settings, environ)
    assert settings.mongo_uri.reveal() == environ["MONGO_URI"]
    assert "hush" not in repr(settings)
