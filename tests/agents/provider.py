"""A scripted provider of all three APIs, which refuses what a real one would, and keeps the rest.

A script is told what it is asked and says what the model says. Each has an address of its own:
`{url}/{name}/v1`, or without `/v1` for Anthropic's clients.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.agents.limits import faults_of, faults_of_types
from tests.agents.speech import ChatApi, Fault, MessagesApi, ResponsesApi, Said

_PATHS = {"/chat/completions": "chat", "/responses": "responses", "/messages": "messages"}
_APIS: dict[str, Any] = {
    "chat": ChatApi(),
    "responses": ResponsesApi(),
    "messages": MessagesApi(),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`faults` are what a real provider would refuse it for."""

    api: str
    raw: bytes
    headers: dict[str, str]
    faults: list[str]

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.raw)
        return found

    @property
    def results(self) -> list[str]:
        """What the tools of the conversation gave, in order."""
        return list(_results(self.body))

    @property
    def tools(self) -> set[str]:
        return {str(_name_of(tool)) for tool in self.body.get("tools", [])}


Script = Callable[[Asked], Said | Fault]


class Provider:
    def __init__(self) -> None:
        self.url = ""
        self._scripts: dict[str, Script] = {}
        self._asked: dict[str, list[Asked]] = {}
        self._relayed: set[str] = set()

    def plays(self, name: str, script: Script, *, relayed: bool = False) -> None:
        """What is `relayed` is the client's own, which may know more than the SDK's types."""
        self._scripts[name] = script
        self._asked[name] = []
        if relayed:
            self._relayed.add(name)

    def asked(self, name: str) -> list[Asked]:
        return list(self._asked[name])

    @contextmanager
    def serving(self) -> Iterator["Provider"]:
        provider = self

        class Handler(_Handler):
            def is_played(self, name: str) -> bool:
                return name in provider._scripts

            def answer(self, name: str, api: str, raw: bytes) -> Said | Fault:
                headers = {key.lower(): value for key, value in self.headers.items()}
                faults = faults_of(api, json.loads(raw))
                if name not in provider._relayed:
                    faults += faults_of_types(api, json.loads(raw))
                asked = Asked(api=api, raw=raw, headers=headers, faults=faults)
                provider._asked[name].append(asked)
                if faults:
                    error = {"type": "invalid_request_error", "message": "; ".join(faults[:5])}
                    return Fault(status=400, body={"type": "error", "error": error})
                return provider._scripts[name](asked)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, name: str, api: str, raw: bytes) -> Said | Fault:
        raise NotImplementedError

    def is_played(self, name: str) -> bool:
        raise NotImplementedError

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        name, _, rest = path.lstrip("/").partition("/")
        api = _PATHS.get("/" + rest.removeprefix("v1/"))
        if api is None or not self.is_played(name):
            self._whole(404, {"error": {"message": f"{path} does not exist"}})
            return
        said = self.answer(name, api, raw)
        if isinstance(said, Fault):
            self._whole(said.status, said.body)
            return
        body = json.loads(raw)
        if body.get("stream"):
            self._stream(_APIS[api].frames(said, body))
        else:
            self._whole(200, _APIS[api].whole(said, body))

    def do_GET(self) -> None:
        self._whole(404, {"error": {"message": f"{self.path} does not exist"}})

    def _whole(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, frames: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for frame in frames:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""


def _results(body: dict[str, Any]) -> Iterator[str]:
    for item in body["input"] if isinstance(body.get("input"), list) else ():
        if item.get("type") in ("function_call_output", "custom_tool_call_output"):
            yield _text(item["output"])
    for message in body.get("messages", ()):
        if message["role"] == "tool":
            yield _text(message["content"])
        elif isinstance(message["content"], list):
            for block in message["content"]:
                if block["type"] == "tool_result":
                    yield _text(block.get("content", ""))


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


def _name_of(tool: dict[str, Any]) -> Any:
    return tool.get("name") or (tool.get("function") or {}).get("name") or tool.get("type")
