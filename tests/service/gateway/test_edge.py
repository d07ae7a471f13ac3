"""What reaches the gateway before it is a call: heads, paths, protocols, browsers."""

import msgspec
import pytest

from libs.common.web.bounded_http import BOUNDS
from services.gateway.app import create_app
from tests.service.gateway.conftest import SettingsWith
from tests.service.gateway.dialects import CHAT, MESSAGES, RESPONSES, Dialect
from tests.service.gateway.stage import CHAT_MODEL, Client, bearer, open_gateway
from tests.service.gateway.upstream import Upstream
from tests.service.web.test_bounded_http import connecting
from tests.support.books import Books
from tests.support.sockets import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORIGIN = "https://app.example.com"


def url_of(gateway: Client, path: str) -> str:
    """Two slashes at the beginning would else name a host."""
    return str(gateway.http.base_url).rstrip("/") + path


async def test_too_many_header_fields_are_rejected(gateway: Client, dialect: Dialect) -> None:
    headers = {f"x-{n}": "1" for n in range(BOUNDS.head_fields)}
    response = await gateway.post(dialect.path, None, dialect.body(), headers)
    dialect.check_error(response, 431, "request_head_too_large")
    assert response.headers["x-should-retry"] == "false"
    assert response.headers["connection"] == "close"


async def test_a_long_header_is_rejected(gateway: Client, dialect: Dialect) -> None:
    headers = {"x-long": "x" * (BOUNDS.head_bytes + 5_000)}
    response = await gateway.post(dialect.path, None, dialect.body(), headers)
    dialect.check_error(response, 431, "request_head_too_large")


async def test_headers_within_the_bounds_are_accepted(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect
) -> None:
    dialect.served_by(upstream, stream=False)
    headers = {f"x-{n}": "x" * 300 for n in range(BOUNDS.head_fields - 10)}
    response = await gateway.post(dialect.path, await books.add_key(), dialect.body(), headers)
    assert response.status_code == 200


async def test_an_unfinished_head_does_not_delay_others(settings_with: SettingsWith) -> None:
    bounds = msgspec.structs.replace(BOUNDS, head_timeout_s=0.3)
    app = create_app(settings_with())
    async with serving(app, bounds=bounds) as url, connecting(url) as slow, connecting(url) as fast:
        await slow.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-a: ")
        await fast.send(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await fast.answer() == (200, b'{"status":"ok"}')
        status, body = await slow.answer()
        assert status == 408
        assert msgspec.json.decode(body)["type"] == "error"
        assert await slow.is_closed()


@pytest.mark.parametrize("prefix", ["/", "/v1", "/v1/", "//v1", "/v1/v1", "/v1//v1", "//"])
@pytest.mark.parametrize("suffix", ["", "/"])
async def test_a_base_url_with_or_without_v1(
    gateway: Client, upstream: Upstream, books: Books, dialect: Dialect, prefix: str, suffix: str
) -> None:
    dialect.served_by(upstream, stream=False)
    path = prefix.rstrip("/") + dialect.path.removeprefix("/v1") + suffix
    if prefix == "//":
        path = f"/{dialect.path}{suffix}"
    response = await gateway.post(url_of(gateway, path), await books.add_key(), dialect.body())
    assert (response.status_code, response.content) == (200, dialect.answer)
    assert upstream.requests[-1].path == dialect.upstream_path


@pytest.mark.parametrize(
    "path", ["/models", "/models/", "//v1/models", "/v1/models/", "/v1/v1/models"]
)
async def test_models_are_listed_at_every_usual_path(
    gateway: Client, books: Books, path: str
) -> None:
    headers = bearer(await books.add_key())
    response = await gateway.http.get(url_of(gateway, path), headers=headers)
    assert (response.status_code, response.json()["object"]) == (200, "list")
    path = f"{path.rstrip('/')}/{CHAT_MODEL}/"
    model = await gateway.http.get(url_of(gateway, path), headers=headers)
    assert (model.status_code, model.json()["id"]) == (200, CHAT_MODEL)


@pytest.mark.parametrize("path", ["/health/", "//health", "/ready/"])
async def test_an_extra_slash_is_not_redirected(gateway: Client, path: str) -> None:
    response = await gateway.http.get(url_of(gateway, path), headers={"host": "elsewhere"})
    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/openai/v1/models", "/v1", "/v1/", "/", "/v1/health", "/v2/x"])
async def test_an_unknown_path_is_answered_with_the_base_url_to_set(
    gateway: Client, path: str
) -> None:
    error = CHAT.check_error(await gateway.http.get(path), 404, "not_found")
    assert "base URL" in error["message"]
    assert "/v1" in error["message"]


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PUT"])
async def test_unsupported_methods_are_rejected(
    gateway: Client, dialect: Dialect, method: str
) -> None:
    response = await gateway.http.request(method, f"{dialect.path}/")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", [RESPONSES.path, "/responses", "//v1/responses/"])
async def test_websockets_are_rejected(gateway: Client, books: Books, path: str) -> None:
    secret = await books.add_key()
    url = str(gateway.http.base_url).rstrip("/")
    async with connecting(url) as client:
        for _ in range(2):
            await client.send(
                f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {secret}\r\n"
                "connection: Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n"
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            status, headers, body = await client.whole_answer()
            assert status == 426
            assert (headers["upgrade"], headers["connection"]) == ("HTTP/1.1", "upgrade")
            error = msgspec.json.decode(body)["error"]
            assert error["code"] == "websocket_not_supported"
            assert "POST to /v1/responses" in error["message"]
        await client.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert (await client.answer())[0] == 405
    # What was asked for is not a call.
    assert await books.events(secret) == []


async def test_an_upgrade_to_http2_is_ignored(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    CHAT.served_by(upstream, stream=False)
    headers = {
        "connection": "Upgrade, HTTP2-Settings",
        "upgrade": "h2c",
        "http2-settings": "AAMAAABkAAQAAP__",
    }
    response = await gateway.post(CHAT.path, await books.add_key(), CHAT.body(), headers)
    assert (response.status_code, response.content) == (200, CHAT.answer)
    upstream_headers = dict(upstream.requests[-1].headers)
    assert not {"upgrade", "http2-settings"} & upstream_headers.keys()


async def test_cross_origin_calls_are_denied_by_default(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    upstream.answers(CHAT.answer, headers={"access-control-allow-origin": "*"})
    headers = {"origin": ORIGIN}
    response = await gateway.post(CHAT.path, await books.add_key(), CHAT.body(), headers)
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control-")]
    preflight_headers = headers | {"access-control-request-method": "POST"}
    assert (await gateway.http.options(CHAT.path, headers=preflight_headers)).status_code == 405


@pytest.mark.parametrize("allowed", [ORIGIN, f"https://other.example, {ORIGIN}", "*"])
async def test_an_allowed_origin_can_call(
    settings_with: SettingsWith, upstream: Upstream, books: Books, allowed: str
) -> None:
    origin = "*" if allowed == "*" else ORIGIN
    secret = await books.add_key()
    async with open_gateway(settings_with(cors_allow_origins=allowed)) as gateway:
        names = "authorization,anthropic-version,anthropic-beta,x-stainless-lang,content-type"
        preflight_headers = {
            "origin": ORIGIN,
            "access-control-request-method": "POST",
            "access-control-request-headers": names,
        }
        preflight = await gateway.http.options(MESSAGES.path, headers=preflight_headers)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert preflight.headers["access-control-allow-headers"] == names

        CHAT.served_by(upstream, stream=True)
        for key, body, status in (
            (secret, CHAT.body(stream=True), 200),
            (secret, CHAT.body(model="nobody's"), 404),
            (None, CHAT.body(), 401),
        ):
            response = await gateway.post(CHAT.path, key, body, {"origin": ORIGIN})
            assert response.status_code == status
            assert response.headers["access-control-allow-origin"] == origin
            exposed = response.headers["access-control-expose-headers"].split(", ")
            assert {"x-request-id", "x-gateway-cost-usd", "retry-after"} <= set(exposed)
            assert "access-control-allow-credentials" not in response.headers


async def test_another_origin_cannot_call(settings_with: SettingsWith, books: Books) -> None:
    async with open_gateway(settings_with(cors_allow_origins=ORIGIN)) as gateway:
        for origin in ("https://evil.example", "null", f"{ORIGIN}.evil.example"):
            response = await gateway.http.get(
                "/v1/models", headers={**bearer(await books.add_key()), "origin": origin}
            )
            assert response.status_code == 200
            assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "model", ["gpt-4o\n", "gpt\x00-4o", "gpt-4o\x7f", "gpt-4o\u2028", "\u202egpt"]
)
@pytest.mark.parametrize(
    "path",
    [
        CHAT.path,
        MESSAGES.path,
        RESPONSES.path,
        "/v1/embeddings",
        f"{MESSAGES.path}/count_tokens",
        f"{RESPONSES.path}/input_tokens",
    ],
)
async def test_an_unprintable_model_name(
    gateway: Client, upstream: Upstream, books: Books, path: str, model: str
) -> None:
    upstream.answers(b"{}")
    secret = await books.add_key()
    dialect = MESSAGES if path.startswith(MESSAGES.path) else RESPONSES
    body = {**dialect.body(), **CHAT.body(), "model": model, "input": "Hi"}
    for name in (model, f"openai/{model}"):
        response = await gateway.post(path, secret, body | {"model": name})
        error = dialect.check_error(response, 400, "invalid_request")
        assert "model" in error["message"]
    assert upstream.requests == []
    for event in await books.events(secret):
        assert (event.status, event.http_status, event.requested_model) == ("refused", 400, None)


async def test_an_unprintable_path(gateway: Client, books: Books) -> None:
    headers = bearer(await books.add_key())
    for path in ("/v1/models/gpt-4o%0A", "/v1/models/openai/gpt%00", "/v1/responses/a%0D%0Ab: c"):
        response = await gateway.http.get(path, headers=headers)
        CHAT.check_error(response, 400, "invalid_request")


async def test_a_model_name_in_another_script(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    await books.set_price("openai/modèle-π-模型", input_usd="1", output_usd="1")
    CHAT.served_by(upstream, stream=False)
    body = CHAT.body(model="openai/modèle-π-模型")
    response = await gateway.post(CHAT.path, await books.add_key(), body)
    assert response.status_code == 200
    assert dict(response.headers.raw)[b"x-gateway-model"].decode() == "openai/modèle-π-模型"


async def test_an_unforwardable_header_is_dropped(
    gateway: Client, upstream: Upstream, books: Books
) -> None:
    headers = {"openai-processing-ms": "1\x012", "openai-version": "2020-10-01"}
    upstream.answers(CHAT.answer, headers=headers)
    secret = await books.add_key()
    response = await gateway.post(CHAT.path, secret, CHAT.body())
    assert (response.status_code, response.content) == (200, CHAT.answer)
    assert "openai-processing-ms" not in response.headers
    assert response.headers["openai-version"] == "2020-10-01"
