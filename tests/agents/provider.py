"""A scripted provider of all three APIs, which refuses what a real one would, and keeps the rest.

A script gets a request and returns an answer or a fault. Each has an address of its own:
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
from tests.agents.speech import Answer, ChatApi, Fault, MessagesApi, ResponsesApi

_PATHS = {"/chat/completions": "chat", "/responses": "responses", "/messages": "messages"}
_APIS: dict[str, Any] = {
    "chat": ChatApi(),
    "responses": ResponsesApi(),
    "messages": MessagesApi(),
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """`faults` are what a real provider would refuse it for."""

    api: str
    raw: bytes
    headers: dict[str, str]
    faults: list[str]

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body

    @property
    def results(self) -> list[str]:
        """What the tools of the conversation gave, in order."""
        return list(_results(self.body))

    @property
    def tools(self) -> set[str]:
        return {str(_name_of(tool)) for tool in self.body.get("tools", [])}


Script = Callable[[Request], Answer | Fault]


class Provider:
    def __init__(self) -> None:
        self.url = ""
        self._scripts: dict[str, Script] = {}
        self._requests: dict[str, list[Request]] = {}
        self._relayed: set[str] = set()

    def plays(self, name: str, script: Script, *, relayed: bool = False) -> None:
        """What is `relayed` is the client's own, which may know more than the SDK's types."""
        self._scripts[name] = script
        self._requests[name] = []
        if relayed:
            self._relayed.add(name)

    def requests(self, name: str) -> list[Request]:
        return list(self._requests[name])

    @contextmanager
    def serving(self) -> Iterator["Provider"]:
        provider = self

        class Handler(_Handler):
            def is_played(self, name: str) -> bool:
                return name in provider._scripts

            def answer(self, name: str, api: str, raw: bytes) -> Answer | Fault:
                headers = {key.lower(): value for key, value in self.headers.items()}
                faults = faults_of(api, json.loads(raw))
                if name not in provider._relayed:
                    faults += faults_of_types(api, json.loads(raw))
                request = Request(api=api, raw=raw, headers=headers, faults=faults)
                provider._requests[name].append(request)
                if faults:
                    error = {"type": "invalid_request_error", "message": "; ".join(faults[:5])}
                    return Fault(status=400, body={"type": "error", "error": error})
                return provider._scripts[name](request)

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

    def answer(self, name: str, api: str, raw: bytes) -> Answer | Fault:
        raise NotImplementedError

    def is_played(self, name: str) -> bool:
        raise NotImplementedError

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.partition("?")[0]
        name, _, rest = path.lstrip("/").partition("/")
        api = _PATHS.get("/" + rest.removeprefix("v1/"))
        if api is None or not self.is_played(name):
            self._send_json(404, {"error": {"message": f"{path} does not exist"}})
            return
        answer = self.answer(name, api, raw)
        if isinstance(answer, Fault):
            self._send_json(answer.status, answer.body)
            return
        body = json.loads(raw)
        if body.get("stream"):
            self._stream(_APIS[api].frames(answer, body))
        else:
            self._send_json(200, _APIS[api].whole(answer, body))

    def do_GET(self) -> None:
        self._send_json(404, {"error": {"message": f"{self.path} does not exist"}})

    def _send_json(self, status: int, body: Any) -> None:
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
