#!/usr/bin/env bash
# anthropic 2.14.0: `tool_runner` leaves the conversation to the server, and asks nobody whether it has it.
#
# By default (`thread` omitted) the first turn carries `thread: {"type": "create"}` and a beta header,
# each later one `{"type": "continue"}` with the new messages alone, without history, system prompt and
# tools. Expected: a server that does not know threads is noticed, by its answer or by its refusal of the
# unknown field, and the runner goes back to sending everything, as older versions did. Seen:
# - The reply to `create` has no word about a thread, so a server that ignores unknown fields is taken to
#   have stored it. Its second request is one message, a `tool_result` whose call is not there.
# - A 400 to `create` or a 404 to `continue` ends the run, unless `error.details.error_code` is
#   `thread_unsupported_request` or `thread_not_found`: only then everything is sent, without a thread or
#   with a new one. Status, `error.type` and message are not looked at.
# So whatever serves the Messages API has to keep threads or to refuse them with that code; in the client
# `thread=False` turns them off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check anthropic==2.14.0
cd "$folder"
venv/bin/python -W ignore - <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anthropic

MODEL = "claude-haiku-4-5"
QUESTION = {"role": "user", "content": "What is the weather in Oslo?"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}}
ERRORS = {400: "invalid_request_error", 404: "not_found_error"}


class Handler(BaseHTTPRequestHandler):
    """Asks for the tool in the first turn, then ends it; refuses one kind of `thread` if it is told so."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        kind = (body.get("thread") or {}).get("type")
        state = self.server
        state.seen.append((kind, len(body["messages"]), "tools" in body and "system" in body))
        if kind is not None and kind == state.refused:
            error = {"type": ERRORS[state.status], "message": f"thread: no {kind} here"}
            if state.code:
                error["details"] = {"error_code": state.code}
            return self.answer(state.status, {"type": "error", "error": error})
        first = body["messages"][-1] == QUESTION
        return self.answer(200, {
            "id": f"msg_{len(state.seen)}", "type": "message", "role": "assistant", "model": MODEL,
            "content": [CALL if first else {"type": "text", "text": "Rain."}],
            "stop_reason": "tool_use" if first else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        })

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@anthropic.beta_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def run(refused=None, status=0, code=None, **options):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.refused, server.status, server.code = [], refused, status, code
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with anthropic.Anthropic(api_key="none", base_url=url, max_retries=0) as client:
            client.beta.messages.tool_runner(
                model=MODEL, max_tokens=100, system="Be brief.", tools=[weather],
                messages=[QUESTION], **options,
            ).until_done()
        end = "done"
    except anthropic.APIStatusError as error:
        end = type(error).__name__
    finally:
        server.shutdown()
        server.server_close()
    return end, server.seen


# (kind of thread, number of messages, whether tools and system prompt are there) per request
CREATE, CONTINUE = ("create", 1, True), ("continue", 1, False)
FIRST, WHOLE = (None, 1, True), (None, 3, True)
EXPECTED = {
    "threads turned off": ({"thread": False}, "done", [FIRST, WHOLE]),
    "a server that ignores the field": ({}, "done", [CREATE, CONTINUE]),
    "400 to create": ({"refused": "create", "status": 400}, "BadRequestError", [CREATE]),
    "400 to create, with the code": (
        {"refused": "create", "status": 400, "code": "thread_unsupported_request"},
        "done", [CREATE, FIRST, WHOLE],
    ),
    "404 to continue": ({"refused": "continue", "status": 404}, "NotFoundError", [CREATE, CONTINUE]),
    "404 to continue, with the code": (
        {"refused": "continue", "status": 404, "code": "thread_not_found"},
        "done", [CREATE, CONTINUE, ("create", 3, True)],
    ),
}
print("anthropic", anthropic.__version__)
found = {name: run(**options) for name, (options, _, _) in EXPECTED.items()}
for name, (end, requests) in found.items():
    print(f"{name}: {end}")
    for kind, messages, complete in requests:
        rest = "with" if complete else "without"
        print(f"    thread {kind}, {messages} message(s), {rest} system and tools")
if found != {name: (end, requests) for name, (_, end, requests) in EXPECTED.items()}:
    raise SystemExit("it has changed")
PY
