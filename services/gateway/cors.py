"""Cross-origin requests, for browsers: off unless CORS_ALLOW_ORIGINS names who may send them."""

from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from libs.common.settings import SettingsError, is_line

_EXPOSED = (
    "x-request-id",
    "request-id",
    "retry-after",
    "x-should-retry",
    "traceresponse",
    "x-gateway-attempts",
    "x-gateway-budget-warning",
    "x-gateway-cost-usd",
    "x-gateway-adapted-params",
    "x-gateway-dropped-content",
    "x-gateway-dropped-params",
    "x-gateway-model",
    "x-gateway-overhead-ms",
    *(
        f"x-ratelimit-{part}-{kind}"
        for part in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens")
    ),
    *(
        f"anthropic-ratelimit-{kind}-{part}"
        for kind in ("requests", "tokens")
        for part in ("limit", "remaining", "reset")
    ),
)


def origins_of(value: str) -> tuple[str, ...]:
    """From `CORS_ALLOW_ORIGINS`. Raises SettingsError."""
    origins = tuple(origin for part in value.split(",") if (origin := part.strip()))
    for origin in origins:
        if origin != "*" and not _is_origin(origin):
            raise SettingsError(
                "CORS_ALLOW_ORIGINS is wrong: it must be *, or origins such as "
                "https://app.example.com, in lower case, separated by commas"
            )
    return origins


def allow_origins(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Around all that the app answers. Without origins it is the app itself.

    Keys travel in headers, which a browser sends only where the page's own script sets them: so
    there are no credentials in the sense of CORS, and any header may be asked for (SDKs have many).
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("*",),
        expose_headers=_EXPOSED,
    )


def _is_origin(text: str) -> bool:
    """As browsers send it: `scheme://host[:port]`, and nothing else."""
    try:
        url = urlsplit(text)
        return (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and url.port != 0
            and text == f"{url.scheme}://{url.netloc}" == text.lower()
            and not {"@", "*", " "} & set(text)
            and is_line(text)
        )
    except ValueError:
        return False
