"""The frame of every page: head, navigation, title and what just happened."""

from collections.abc import Sequence

from htpy import (
    Node,
    Renderable,
    a,
    body,
    button,
    div,
    form,
    h1,
    head,
    header,
    html,
    li,
    link,
    main,
    meta,
    nav,
    script,
    span,
    title,
    ul,
)
from htpy import (
    input as field_input,
)

from services.admin.console.places import Place
from services.admin.console.static_files import asset_address
from services.admin.people.actor import Actor

# htmx adds a style element of its own unless told not to, which the policy forbids.
_HTMX = '{"includeIndicatorCSS":false,"history":false,"mode":"same-origin"}'


def page_frame(
    name: str,
    content: Node,
    *,
    at: str,
    actor: Actor | None,
    places: Sequence[Place] = (),
    csrf: str = "",
    notice: Node = None,
) -> Renderable:
    """`at` is the page's path; `actor` is None before sign-in, and `places` are open to him."""
    return html(lang="en")[
        head[
            meta(charset="utf-8"),
            meta(name="viewport", content="width=device-width, initial-scale=1"),
            meta(name="color-scheme", content="light dark"),
            meta(name="htmx-config", content=_HTMX),
            title[f"{name} · gateway"],
            link(rel="icon", href=asset_address("icon.svg"), type="image/svg+xml"),
            link(rel="stylesheet", href=asset_address("console.css")),
            script(src=asset_address("htmx.min.js"), defer=True),
            script(src=asset_address("console.js"), defer=True),
        ],
        body[
            a(".skip", href="#content")["Skip to the content"],
            None if actor is None else _header(at, actor, places, csrf),
            main("#content", tabindex="-1")[
                h1[name],
                notice and div(".notice", role="status")[notice],
                content,
            ],
        ],
    ]


def _header(at: str, actor: Actor, places: Sequence[Place], csrf: str) -> Renderable:
    return header[
        div(".brand")[a(href="/console")["Gateway"]],
        nav(aria_label="Pages")[ul[(_entry(place, at) for place in places)]],
        form(".who", method="post", action="/console/sign-out")[
            field_input(type="hidden", name="csrf", value=csrf),
            span[actor.name, " · ", actor.role],
            button(type="submit")["Sign out"],
        ],
    ]


def _entry(place: Place, at: str) -> Renderable:
    return li[a(href=place.path, aria_current="page" if place.holds(at) else None)[place.name]]
