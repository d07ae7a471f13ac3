"""A service's reference: its OpenAPI document, and a page that shows the same to people.

The page asks for nothing: no script, no font, no other host.
"""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from libs.common.web.json import encode_json
from libs.common.web.openapi import JSON, Json, Service, document_of

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
code{font:13px ui-monospace,monospace;background:#f2f2f4;padding:.1em .3em;border-radius:3px}
h2{margin-top:2.5rem;border-bottom:1px solid #ddd}
summary{cursor:pointer;padding:.25rem 0}
details>div{margin:0 0 1rem 1.2rem}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #eee}
p{white-space:pre-line}
@media(prefers-color-scheme:dark){body{background:#18181b;color:#ddd}code{background:#2a2a2e}
a{color:#8ab4f8}h2,td,th{border-color:#333}}
"""
_HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; style-src 'sha256-"
    f"{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

# A heading, and its paragraphs by the anchors that lead to them.
Appendix = tuple[str, Sequence[tuple[str, str]]]


def reference_routes(
    describe: Callable[[], Service], appendix: Appendix | None = None
) -> list[Route]:
    """`/openapi.json` and `/docs`, made when they are first asked for."""

    @cache
    def document() -> Json:
        return document_of(describe())

    @cache
    def encoded() -> bytes:
        return encode_json(document())

    @cache
    def page() -> str:
        return page_of(document(), appendix)

    async def show_document(_: Request[Any]) -> Response:
        return Response(await asyncio.to_thread(encoded), media_type=JSON)

    async def show_page(_: Request[Any]) -> Response:
        return HTMLResponse(await asyncio.to_thread(page), headers=_HEADERS)

    return [
        Route("/openapi.json", show_document, methods=["GET"]),
        Route("/docs", show_page, methods=["GET"]),
    ]


def page_of(document: Json, appendix: Appendix | None) -> str:
    info = document["info"]
    parts = [
        f"<h1>{escape(info['title'])}</h1><p>{escape(info['description'])}</p>",
        '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>',
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2>")
        parts += [
            _operation(method, path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if tag["name"] in operation["tags"]
        ]
    if appendix is not None:
        heading, paragraphs = appendix
        parts.append(f"<h2>{escape(heading)}</h2>")
        parts += [
            f'<h3 id="{escape(anchor)}"><code>{escape(anchor)}</code></h3><p>{escape(text)}</p>'
            for anchor, text in paragraphs
        ]
    parts.append("<h2>Objects</h2>")
    parts += [
        f'<h3 id="{escape(name)}">{escape(name)}</h3>{_object(schema)}'
        for name, schema in sorted(document["components"]["schemas"].items())
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f"{escape(info['title'])}</title>"
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _operation(method: str, path: str, operation: Json) -> str:
    rows = [
        (each["name"], each["schema"], f"{each['in']}. {each.get('description', '')}")
        for each in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get(JSON, {}).get("schema")
    replies = "".join(
        f"<tr><td>{escape(status)}</td><td>{_contents(reply)}</td>"
        f"<td>{escape(reply['description'])}</td></tr>"
        for status, reply in operation["responses"].items()
    )
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><code>{method.upper()} '
        f"{escape(path)}</code> {escape(operation['summary'])}</summary><div>"
        f"<p>{escape(operation.get('description', ''))}</p>"
        + (_table(rows) if rows else "")
        + (f"<p>Body: {_type(body)}</p>" if body else "")
        + f"<table>{replies}</table></div></details>"
    )


def _contents(reply: Json) -> str:
    contents = reply.get("content", {})
    return ", ".join(_type(each["schema"]) or escape(media) for media, each in contents.items())


def _object(schema: Json) -> str:
    required = schema.get("required", ())
    rows = [
        (name, each, ("required. " if name in required else "") + each.get("description", ""))
        for name, each in schema.get("properties", {}).items()
    ]
    return f"<p>{escape(schema.get('description', ''))}</p>" + (_table(rows) or _type(schema))


def _table(rows: Iterable[tuple[str, Json, str]]) -> str:
    cells = [
        f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td><td>{escape(text)}</td></tr>"
        for name, schema, text in rows
    ]
    return f"<table>{''.join(cells)}</table>" if cells else ""


def _type(schema: Json) -> str:
    """In a few words, with its bounds."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{escape(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    text = escape(str(schema.get("type", "")))
    if "items" in schema:
        text += f" of {_type(schema['items'])}"
    elif isinstance(schema.get("additionalProperties"), dict):
        text += f" of {_type(schema['additionalProperties'])}"
    bounds = [
        f"{name} {schema[name]}"
        for name in ("format", "pattern", "minimum", "maximum", "maxLength", "maxItems", "default")
        if name in schema
    ]
    return text + (f" <small>{escape(', '.join(bounds))}</small>" if bounds else "")
