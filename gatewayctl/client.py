"""Sends requests to the admin API, and turns its answers into results or errors.

Every POST has an `Idempotency-Key`, so that it is repeated after a lost answer and done once. A
change of an object names the revision that it was computed from (`If-Match`).
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gatewayctl.errors import CommandError, Failed
from gatewayctl.problems import failed_request, problem_error
from gatewayctl.profiles import Connection
from gatewayctl.terminal import Terminal
from gatewayctl.values import Row, decode_json, encode_json
from gatewayctl.version import VERSION

if TYPE_CHECKING:
    import httpx

_CONNECT_TIMEOUT_S = 10.0
_TRIES = 3
_MAX_PAUSE_S = 10.0
# The API's own bound.
_MAX_PAGE = 200
# Of one answer; a page of a list with filters may be empty before its end.
_MAX_PAGES = 50_000
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_TRY_AGAIN = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_UNDER_WAY = "request_under_way"
# A POST that only computes.
_COMPUTED = {"/admin/costs/quote", "/admin/costs/compare"}

Query = Mapping[str, Any]


@dataclass(frozen=True)
class ApiAnswer:
    """`content` is None where there is none. `etag` is the revision of the shown object."""

    content: Any
    status: int
    etag: str | None = None


def at(pattern: str, *names: str) -> str:
    """`at("/admin/keys/{}", key)`: names in a path, with whatever a path cannot have escaped."""
    return pattern.format(*(quote(name, safe="") for name in names))


class ApiClient:
    """`idempotency_key` replaces a random one, to repeat a whole command.

    `has_changed` once a request that changes something was answered.
    """

    def __init__(
        self,
        connection: Connection,
        terminal: Terminal,
        *,
        timeout_s: float,
        idempotency_key: str | None = None,
    ) -> None:
        import httpx

        self.connection = connection
        self._terminal = terminal
        self.idempotency_key = idempotency_key or str(uuid.uuid4())
        self.has_changed = False
        self._posts = 0
        try:
            self._http = httpx.Client(
                base_url=connection.url,
                headers={
                    "authorization": f"Bearer {connection.key}",
                    "user-agent": f"gatewayctl/{VERSION}",
                },
                timeout=httpx.Timeout(timeout_s, connect=_CONNECT_TIMEOUT_S),
                transport=terminal.transport,
            )
        except (UnicodeEncodeError, httpx.InvalidURL) as error:
            raise Failed(f"The address or the key cannot be sent: {error}") from None

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, query: Query | None = None) -> Any:
        return self.ask("GET", path, query=query).content

    def post(self, path: str, body: Any = None) -> Any:
        return self.ask("POST", path, body={} if body is None else body).content

    def delete(self, path: str, query: Query | None = None) -> Any:
        return self.ask("DELETE", path, query=query).content

    def change(self, path: str, patch: Row, *, etag: str | None = None) -> Any:
        """A merge patch, over the revision that `etag` names."""
        return self.ask("PATCH", path, body=patch, etag=etag).content

    def pages(self, path: str, query: Query, limit: int) -> Iterator[Row]:
        """The rows of a list, over its pages. Prints a notice if it stops before their end."""
        left = limit
        for page in self.answers("GET", path, {**query, "limit": min(limit, _MAX_PAGE)}):
            rows = page["data"]
            yield from rows[:left]
            left -= len(rows)
            if left < 0 or (left == 0 and page["next_cursor"] is not None):
                self._terminal.say(f"gatewayctl: the first {limit}; there are more (--limit).")
                return

    def answers(self, method: str, path: str, params: Query) -> Iterator[Any]:
        """Yields each page of a paged answer. `params` is a GET's query, or a POST's body."""
        ask = self.get if method == "GET" else self.post
        cursor: Row = {}
        for _ in range(_MAX_PAGES):
            page = ask(path, {**params, **cursor})
            yield page
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}
        raise Failed(f"{path} has no end.", way_out="ask for less: filters, or a shorter time")

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        etag: str | None = None,
    ) -> ApiAnswer:
        """Raises CommandError unless the answer is a success."""
        headers = {} if etag is None else {"if-match": etag}
        if method == "POST":
            headers["idempotency-key"] = self._next_key()
        if body is not None:
            headers["content-type"] = "application/json"
        for tries_left in reversed(range(_TRIES)):
            request = self._http.build_request(
                method,
                path,
                params=_query_params(query),
                headers=headers,
                content=None if body is None else encode_json(body),
            )
            outcome = self._try_once(request, last=tries_left == 0)
            if isinstance(outcome, ApiAnswer):
                self.has_changed = self.has_changed or _changes(method, path, body)
                return outcome
            self._terminal.sleep(outcome)
        raise AssertionError("the last try answers or raises")

    def _next_key(self) -> str:
        """A command that posts several times does so in the same order when it is repeated."""
        self._posts += 1
        suffix = "" if self._posts == 1 else f".{self._posts}"
        return self.idempotency_key + suffix

    def _try_once(self, request: "httpx.Request", *, last: bool) -> "ApiAnswer | float":
        """The answer, or the delay before the next try. Raises CommandError."""
        import httpx

        repeatable = request.method in ("GET", "POST")
        try:
            with self._stream(request) as response:
                content = _content(response)
        except httpx.HTTPError as error:
            # An answer was lost: nobody knows whether it was done.
            if last or not repeatable or isinstance(error, httpx.ConnectError):
                raise self._lost_error(request, error) from None
            return 0.5
        if response.is_success:
            if isinstance(content, str) and "/admin/" in request.url.path:
                # A page, as a proxy or another program would show.
                raise self._foreign_error(request, response)
            return ApiAnswer(content, response.status_code, response.headers.get("etag"))
        code = content.get("code") if isinstance(content, dict) else None
        if last or not (response.status_code in _TRY_AGAIN or code == _UNDER_WAY) or not repeatable:
            raise self._refusal(request, response, content)
        return _pause_s(response)

    @contextmanager
    def _stream(self, request: "httpx.Request") -> "Iterator[httpx.Response]":
        response = self._http.send(request, stream=True)
        try:
            yield response
        finally:
            response.close()

    @contextmanager
    def download(self, path: str, query: Query, accept: str) -> Iterator[Iterator[bytes]]:
        """An answer's pieces as they come. Raises CommandError, also where it breaks off."""
        import httpx

        request = self._http.build_request(
            "GET", path, params=_query_params(query), headers={"accept": accept}
        )
        try:
            with self._stream(request) as response:
                if not response.is_success:
                    raise self._refusal(request, response, _content(response))
                yield response.iter_bytes()
        except httpx.HTTPError as error:
            raise self._lost_error(request, error) from None

    def _lost_error(self, request: "httpx.Request", error: "httpx.HTTPError") -> CommandError:
        return failed_request(
            error, self.connection, key=self.idempotency_key if request.method == "POST" else None
        )

    def _refusal(
        self, request: "httpx.Request", response: "httpx.Response", content: Any
    ) -> CommandError:
        error = problem_error(response, content, self.connection)
        return error or self._foreign_error(request, response)

    def _foreign_error(self, request: "httpx.Request", response: "httpx.Response") -> CommandError:
        """The error for an answer that is not the admin API's, by its description."""
        import httpx

        url = self.connection.url
        way_out = "give the admin API's address: --url, GATEWAYCTL_URL or gatewayctl login"
        try:
            with self._stream(self._http.build_request("GET", "/openapi.json")) as described:
                document = _content(described)
        except httpx.HTTPError:
            document = None
        title = str(document.get("info", {}).get("title")) if isinstance(document, dict) else ""
        if "admin" in title.lower():
            return Failed(
                f"{url} has no {request.method} {request.url.path}: its version is an older "
                f"one than this command's ({VERSION}).",
                way_out="update the admin service, or use the gatewayctl of its version",
            )
        if "gateway" in title.lower():
            return Failed(
                f"{url} is the gateway's address, which models are called at.", way_out=way_out
            )
        return Failed(
            f"{url} answers {response.status_code}, but is not an admin API.", way_out=way_out
        )


def _changes(method: str, path: str, body: Any) -> bool:
    dry_run = isinstance(body, dict) and body.get("dry_run") is True
    return method != "GET" and not dry_run and path not in _COMPUTED


def _query_params(query: Query | None) -> dict[str, str]:
    return {name: _text(value) for name, value in (query or {}).items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _content(response: "httpx.Response") -> Any:
    """JSON as values, anything else as text. Raises Failed for more than a command can hold."""
    raw = bytearray()
    for piece in response.iter_bytes():
        raw += piece
        if len(raw) > _MAX_ANSWER_BYTES:
            raise Failed("The answer is too large.", way_out="ask for less: filters, or --limit")
    if not raw:
        return None
    if "json" in response.headers.get("content-type", ""):
        try:
            return decode_json(bytes(raw))
        except ValueError:
            pass
    return raw.decode("utf-8", "replace")


def _pause_s(response: "httpx.Response") -> float:
    retry_after = response.headers.get("retry-after", "1")
    return min(float(retry_after) if retry_after.isdecimal() else 1.0, _MAX_PAUSE_S)
