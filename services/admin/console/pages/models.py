"""Models: routes, their deployments and cooldowns."""

from collections.abc import Mapping, Sequence

import msgspec
from htpy import Node, a, details, div, p, summary

from libs.common.schemas.route import AnswerModel
from services.admin import model_tests, models
from services.admin.console.elements import (
    NOTHING,
    Column,
    count_text,
    facts,
    link,
    mono,
    panel,
    rows_table,
    status_badge,
    usd,
    when,
)
from services.admin.console.filters import filters
from services.admin.console.forms import confirm_form
from services.admin.console.page import ConsolePage, PageHandler, Shown, View, go_to, segment
from services.admin.model_bodies import DeploymentView, RouteView
from services.admin.model_tests import TestResult

_ANSWER_MODELS: Mapping[AnswerModel, str] = {
    "asked": "the model that was asked for",
    "served": "the model that served",
}


async def list_page(view: View) -> Shown:
    page = await view.api.call(models.list_models, query=view.query)
    columns = (
        Column("Model"),
        Column("Deployments", "long"),
        Column("Falls back to"),
    )
    rows: list[list[Node]] = [
        [
            link(f"/console/models/{segment(route.model)}", route.model),
            [div(".line")[each.model, " ", _health(view, each)] for each in route.deployments],
            ", ".join(route.fallbacks) or NOTHING,
        ]
        for route in page.data
    ]
    advice = "No route yet: models are called by provider/model, or by a name that has a price."
    empty = p["No route matches." if view.query.get("q") else advice]
    new = (
        view.api.may(models.create_model)
        and a(".button.primary", href="/console/new/route")["New route"]
    )
    return ConsolePage(
        name="Models",
        content=panel(
            "Routes",
            filters(view, {"q": "Search"}),
            rows_table("Routes", columns, rows, empty=empty),
            view.pager(page),
            actions=new,
        ),
    )


async def show_page(view: View, results: Sequence[TestResult] = ()) -> Shown:
    route = await view.api.call(models.show_model, name=view.request.path_params["name"])
    at = f"/console/models/{segment(route.model)}"
    remove = confirm_form(
        f"{at}/delete", view.session.csrf, submit="Delete this route",
        asks=f"Calls of {route.model} are refused, unless a provider's model has this name.",
    )  # fmt: skip
    test = confirm_form(
        f"{at}/test", view.session.csrf, submit="Call each deployment",
        asks="Makes a short call of each deployment, which costs what such a call costs.",
        danger=False,
    )  # fmt: skip
    return ConsolePage(
        name=route.model,
        content=[
            panel(
                "Deployments",
                _deployments(view, route),
                actions=view.api.may(models.change_model)
                and a(".button", href=f"/console/edit/route/{segment(route.model)}")["Change"],
            ),
            panel("Test", _results(results)) if results else None,
            panel("Route", _facts(route)),
            view.api.may(model_tests.test_model) and panel("Try it", test),
            view.api.may(models.delete_model) and panel("Delete", remove),
        ],
    )


def _deployments(view: View, route: RouteView) -> Node:
    columns = [
        Column("Model"), Column("Health", "long"), Column("Priority", "number"),
        Column("Weight", "number"), Column("Else"), Column("Id"),
    ]  # fmt: skip
    rows = [_row(view, each) for each in route.deployments]
    if view.api.may(model_tests.test_model):
        columns.append(Column("Do"))
        for row, each in zip(rows, route.deployments, strict=True):
            row.append(_test_one(view, route, each))
    return rows_table("Deployments", columns, rows, empty=None)


def _health(view: View, each: DeploymentView) -> Node:
    if each.cooling_until is None:
        return status_badge("healthy")
    return [
        status_badge("cooling"), " until ", when(each.cooling_until, view.zone, seconds=True),
        each.cooling_reason and f", because {each.cooling_reason}",
    ]  # fmt: skip


def _row(view: View, each: DeploymentView) -> list[Node]:
    return [
        each.model, _health(view, each), count_text(each.priority), count_text(each.weight),
        [div[text] for text in _other_settings(each)] or NOTHING, mono(each.deployment_id),
    ]  # fmt: skip


def _other_settings(each: DeploymentView) -> list[str]:
    """The deployment's settings that differ from the defaults."""
    times = msgspec.structs.asdict(each.timeouts)
    settings = {
        "at": each.api_base,
        "with": each.credential,
        "speaks": ", ".join(each.formats or ()),
        "calls at a time": each.max_parallel,
        "region": each.region,
        "priced as": each.priced_as,
        "multiplier": None if each.multiplier == 1 else f"{each.multiplier:f}",
        **{f"{name.replace('_', ' ')} s": value for name, value in times.items()},
        "translated by": None if each.translation == "native" else "LiteLLM",
        "parameters it does not take are": "left out" if each.drop_params else None,
        "profile": each.profile and msgspec.json.encode(each.profile).decode(),
    }
    return [f"{name} {value}" for name, value in settings.items() if value]


def _test_one(view: View, route: RouteView, each: DeploymentView) -> Node:
    test = confirm_form(
        f"/console/models/{segment(route.model)}/test", view.session.csrf, submit="Call it",
        asks=f"Makes a short call of {each.model}, which costs what such a call costs.",
        hidden={"deployment_id": each.deployment_id}, danger=False,
    )  # fmt: skip
    return details[summary["Test"], test]


def _facts(route: RouteView) -> Node:
    return facts(
        [
            ("Tries at most", count_text(route.max_attempts)),
            ("Rests after failures", count_text(route.cooldown_after)),
            ("Rests for, seconds", count_text(route.cooldown_s)),
            ("Falls back to", ", ".join(route.fallbacks) or NOTHING),
            ("When the prompt is too long", ", ".join(route.context_fallbacks) or NOTHING),
            ("Answers name", _ANSWER_MODELS[route.answer_model]),
            ("Objects that all may use", ", ".join(route.provider_objects) or NOTHING),
        ]
    )


def _results(results: Sequence[TestResult]) -> Node:
    columns = (
        Column("Deployment"), Column("Outcome"), Column("ms", "number"), Column("Cost", "number"),
        Column("Why"),
    )  # fmt: skip
    rows = [
        [
            mono(each.deployment_id),
            status_badge("ok" if each.ok else "failed"),
            count_text(each.latency_ms),
            usd(each.cost_usd),
            each.error
            or (each.request_id and link(f"/console/calls/{each.request_id}", "the call")),
        ]
        for each in results
    ]
    return rows_table("Outcomes", columns, rows, empty=None)


async def test(view: View) -> Shown:
    """Tests the deployment that the form names, else all."""
    chosen = view.typed.get("deployment_id")
    answer = await view.api.call(
        model_tests.test_model,
        body={"deployment_id": chosen} if chosen else {},
        name=view.request.path_params["name"],
    )
    return await show_page(view, answer.results)


async def delete(view: View) -> Shown:
    await view.api.call(models.delete_model, name=view.request.path_params["name"])
    return go_to("/console/models")


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/models": {"GET": list_page},
    "/console/models/{name:path}/test": {"POST": test},
    "/console/models/{name:path}/delete": {"POST": delete},
    "/console/models/{name:path}": {"GET": show_page},
}
