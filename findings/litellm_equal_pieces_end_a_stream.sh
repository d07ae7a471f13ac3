#!/usr/bin/env bash
# litellm 1.110.2: a stream whose answer repeats one piece a hundred times ends with a 500 of litellm's own.
#
# A table, a list of zeros or a line of dashes is streamed by many servers in equal pieces. Expected: they
# are passed on. Seen: after 100 equal pieces of three letters or more the iterator raises
# MidStreamFallbackError with status 500, "The model is repeating the same chunk", though the server sent the
# whole answer with its end.
# Whoever retries 5xx asks, and pays, again. The limit is `litellm.REPEATED_STREAMING_CHUNK_LIMIT`.
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

PIECE, PIECES = "0.0, ", 150


def chunk(delta, finish_reason=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    fields = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**fields, "choices": [choice]}).encode() + b"\n\n"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        frames = [chunk({"role": "assistant", "content": ""})]
        frames += [chunk({"content": PIECE})] * PIECES
        frames += [chunk({}, "stop"), b"data: [DONE]\n\n"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"".join(frames))

    def log_message(self, *_):
        """Not to the terminal."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
litellm.suppress_debug_info = True


def read():
    said = []
    stream = litellm.completion(
        model="hosted_vllm/m",
        api_base=f"http://127.0.0.1:{server.server_port}/v1",
        api_key="k",
        messages=[{"role": "user", "content": "A hundred and fifty zeros."}],
        stream=True,
        num_retries=0,
        max_retries=0,
    )
    try:
        for part in stream:
            said.append(part.choices[0].delta.content or "")
    except Exception as error:
        return "".join(said).count(PIECE), type(error).__name__, getattr(error, "status_code", None), str(error)
    return "".join(said).count(PIECE), None, None, ""


usual = read()
litellm.REPEATED_STREAMING_CHUNK_LIMIT = 10**9
unlimited = read()
print("sent by the server:", PIECES)
print("usual:             ", usual[0], usual[1], usual[2], usual[3][:120])
print("with a high limit: ", unlimited[0], unlimited[1])
server.shutdown()
assert usual[0] < PIECES
assert usual[1] is not None
assert "repeating the same chunk" in usual[3]
assert unlimited[:2] == (PIECES, None)
PY
