#!/usr/bin/env bash
# litellm 1.110.2: a request that it cannot build is an `APIConnectionError`, and is retried as one.
#
# Two valid OpenAI chat requests for an Anthropic model: a `response_format` of type `json_schema` whose
# `schema` is left out (it is optional), and a tool of type `custom`. Expected: a translation, or a
# BadRequestError / UnsupportedParamsError as for other fields that the provider does not have (such as
# `allowed_tools` below). Seen: APIConnectionError with status 500, whose __context__ is KeyError('schema')
# and KeyError('function'); `__cause__` is None. Nobody was called. It is an openai.APIConnectionError, so
# whoever counts those as the provider's failures or retries them does so here: litellm's own Router with
# num_retries=2 and a fallback took 9.2 to 10.1 s to give up, with no request sent.
# So look at the error's __context__ (or whether a connection was opened) before a provider is blamed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check litellm==1.110.2
cd "$folder"
LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=CRITICAL venv/bin/python -W ignore - <<'PY'
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import litellm
import openai

litellm.suppress_debug_info = True
REPLY = json.dumps({
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5",
    "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}).encode()
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer"}}
FUNCTION = {"type": "function", "function": {"name": "weather"}}
CASES = {
    "plain": {},
    "tool_choice allowed_tools": {
        "tools": [FUNCTION],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}},
    },
    "json_schema without schema": {"response_format": FORMAT},
    "a custom tool": {"tools": [{"type": "custom", "custom": {"name": "weather"}}]},
}
requests = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        requests.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(REPLY)))
        self.end_headers()
        self.wfile.write(REPLY)

    def log_message(self, *_):
        pass


def outcome(complete, **chat):
    """The error's name, its context and the number of requests that the server got."""
    requests.clear()
    try:
        complete(messages=[{"role": "user", "content": "Hello"}], max_tokens=10, **chat)
    except openai.OpenAIError as error:
        assert error.__cause__ is None
        name = type(error).__name__
        assert isinstance(error, openai.APIConnectionError) == (name == "APIConnectionError")
        return name, repr(error.__context__), len(requests)
    return "answered", "None", len(requests)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
place = {"api_base": f"http://127.0.0.1:{server.server_port}", "api_key": "none"}
print("litellm", version("litellm"))
found = {}
for name, fields in CASES.items():
    found[name] = outcome(litellm.completion, model="anthropic/claude-haiku-4-5", **place, **fields)
    print(f"{name}: {found[name]}")
router = litellm.Router(
    model_list=[
        {"model_name": name, "litellm_params": {"model": f"anthropic/claude-{name}", **place}}
        for name in ("haiku-4-5", "sonnet-4-5")
    ],
    fallbacks=[{"haiku-4-5": ["sonnet-4-5"]}],
    num_retries=2,
)
since = time.monotonic()
routed = outcome(router.completion, model="haiku-4-5", response_format=FORMAT)
waited = time.monotonic() - since
print(f"json_schema without schema, by the router: {routed[0]}, {routed[2]} requests, after {waited:.1f} s")
server.shutdown()
server.server_close()
as_seen = {
    "plain": ("answered", "None", 1),
    "tool_choice allowed_tools": ("BadRequestError", "None", 0),
    "json_schema without schema": ("APIConnectionError", "KeyError('schema')", 0),
    "a custom tool": ("APIConnectionError", "KeyError('function')", 0),
}
if found != as_seen or routed[0] != "APIConnectionError" or routed[2] or waited < 1:
    raise SystemExit("it has changed")
PY
