"""A small HTTP client for this machine's own services, on the standard library alone."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from deploy.local.errors import StackError

TIMEOUT_S = 30.0


class StackClient:
    def __init__(self, base_url: str, api_key: str) -> None:
        self._base_url = base_url
        self._headers = {"authorization": f"Bearer {api_key}", "content-type": "application/json"}
        # Addresses of this machine are never reached through a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """The status and the decoded JSON, whatever the status."""
        try:
            with self._open(method, path, body) as response:
                return response.status, _decode(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decode(error.read())
        except (OSError, http.client.HTTPException) as error:
            raise StackError(f"{method} {self._base_url}{path}: {error}") from error

    def expect(self, method: str, path: str, body: object = None) -> Any:
        """The decoded JSON of a call that has to succeed."""
        status, answer = self.call(method, path, body)
        if not 200 <= status < 300:
            raise StackError(f"{method} {path} answered {status}: {answer}")
        return answer

    def stream(self, path: str, body: object) -> Iterator[Any]:
        """The JSON of each `data:` line of a server-sent event stream, as it arrives."""
        try:
            with self._open("POST", path, body) as response:
                for line in response:
                    data = line.removeprefix(b"data:").strip()
                    if line.startswith(b"data:") and data != b"[DONE]":
                        yield json.loads(data)
        except urllib.error.HTTPError as error:
            with error:
                raise StackError(f"POST {path} answered {error.code}: {error.read()!r}") from error
        except (OSError, http.client.HTTPException) as error:
            raise StackError(f"POST {self._base_url}{path}: {error}") from error

    def _open(self, method: str, path: str, body: object) -> Any:
        request = urllib.request.Request(
            self._base_url + path,
            method=method,
            headers=self._headers,
            data=None if body is None else json.dumps(body).encode(),
        )
        return self._opener.open(request, timeout=TIMEOUT_S)


def _decode(content: bytes) -> Any:
    try:
        # Amounts of money stay exact.
        return json.loads(content, parse_float=Decimal)
    except ValueError:
        return content.decode(errors="replace")
