#!/usr/bin/env bash
# msgspec 0.22.0: a field typed `msgspec.Raw | None` accepts nothing but null.
#
# `Raw` takes any JSON value, and `X | None` is how a member that may be missing or null is written, so
# `Raw | None` should take any value. Expected: the value's bytes, or None. Seen: the type is accepted
# without a word and every value but null is refused, "Expected `null`, got `array`". With a schema whose
# optional member is usually absent, code passes its tests and fails on the first body that has it.
# `Raw = Raw()` takes all of them, null included.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check msgspec==0.22.0
cd "$folder"
venv/bin/python - <<'PY'
import msgspec


class Optional(msgspec.Struct):
    member: msgspec.Raw | None = None


class Empty(msgspec.Struct):
    member: msgspec.Raw = msgspec.Raw()


BODIES = {"absent": b"{}", "null": b'{"member":null}', "text": b'{"member":"a"}', "list": b'{"member":[1]}'}
seen = {}
for name, body in BODIES.items():
    for kind in (Optional, Empty):
        try:
            value = msgspec.json.decode(body, type=kind).member
            seen[name, kind.__name__] = None if value is None else bytes(value).decode()
        except msgspec.ValidationError as error:
            seen[name, kind.__name__] = f"refused: {error}"
        print(f"{name:7} {kind.__name__:9} {seen[name, kind.__name__]!r}")
assert seen["null", "Optional"] is None
assert seen["text", "Optional"].startswith("refused: Expected `null`, got `str`")
assert seen["list", "Optional"].startswith("refused: Expected `null`, got `array`")
assert [seen[name, "Empty"] for name in BODIES] == ["", "null", '"a"', "[1]"]
PY
