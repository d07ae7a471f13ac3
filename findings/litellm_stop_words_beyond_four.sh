#!/usr/bin/env bash
# litellm 1.110.2: stop sequences after the fourth are cut off, without a word, whatever the provider takes.
#
# `drop_params=False`, the default, is documented as refusing what a provider does not know. Expected: five
# stop sequences reach a server that takes any number (vLLM, Anthropic), or the call is refused. Seen: the
# server gets four, and the call succeeds; the answer goes on past the fifth. Nothing in the answer or its
# headers tells. `litellm.disable_stop_sequence_limit = True` sends all five.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check litellm==1.110.2
cd "$folder"
LITELLM_LOCAL_MODEL_COST_MAP=True venv/bin/python -W ignore - <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import litellm

WORDS = ["one", "two", "three", "four", "five"]
asked = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        message = {"role": "assistant", "content": "one to five"}
        body = json.dumps(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4},
            }
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Not to the terminal."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
litellm.suppress_debug_info = True


def ask():
    litellm.completion(
        model="hosted_vllm/m",
        api_base=f"http://127.0.0.1:{server.server_port}/v1",
        api_key="k",
        messages=[{"role": "user", "content": "Count."}],
        stop=WORDS,
        drop_params=False,
    )
    return asked[-1]["stop"]


usual = ask()
litellm.disable_stop_sequence_limit = True
unlimited = ask()
print("sent by the caller:   ", WORDS)
print("got by the server:    ", usual)
print("with the switch:      ", unlimited)
server.shutdown()
assert usual == WORDS[:4]
assert unlimited == WORDS
PY
