"""Importing prices: what would change first, then the import."""

from collections.abc import Mapping
from typing import Any

from htpy import Node, p

from libs.common.errors import AppError, InvalidRequest, NotFound, ValidationFailed
from services.admin import cost_imports
from services.admin.console.elements import Column, panel, rows_table
from services.admin.console.form_fields import Field
from services.admin.console.forms import confirm_form, form_of, status_of
from services.admin.console.page import Handler, Page, Shown, View, form_for
from services.admin.cost_imports import ImportView


async def show_page(
    view: View, error: AppError | None = None, answer: ImportView | None = None
) -> Shown:
    fields = (
        Field(path="provider", label="Provider", help="Empty: all of them."),
        Field(path="model", label="Model", help="Empty: all of them."),
        Field(
            path="multiplier", label="Multiplier", kind="amount", help="1.1 marks it up by 10 %."
        ),
    )
    asked = form_of(
        "/console/prices/import", view.session.csrf, fields, submit="Show what would change",
        typed=view.typed, error=error,
    )  # fmt: skip
    done = None
    if answer is not None and not answer.dry_run:
        done = f"Imported {answer.new + answer.changed} prices as {answer.import_id}."
    return Page(
        name="Import prices",
        notice=done,
        content=[
            None if answer is None or not answer.dry_run else _difference(view, answer),
            panel("From LiteLLM's bundled map", asked),
        ],
        status=status_of(error),
    )


def _difference(view: View, answer: ImportView) -> Node:
    kept = {name: text for name, text in view.typed.items() if name != "really"}
    columns = (Column("Model"), Column("Change"))
    rows = [[row.model, row.change] for row in answer.changes]
    go = confirm_form(
        "/console/prices/import", view.session.csrf, submit="Import them",
        asks=f"Stores {answer.new} new and {answer.changed} changed prices; from now on they win "
        "over the bundled map. An import can be undone as a whole.",
        hidden={**kept, "really": "yes"},
    )  # fmt: skip
    return panel(
        "What would change",
        p[f"{answer.new} new, {answer.changed} changed, {answer.same} as now, {answer.kept} kept."],
        rows_table("Changes", columns, rows, empty=p["Nothing would change."]),
        go if answer.new or answer.changed else None,
    )


async def preview_or_import(view: View) -> Shown:
    names = ("provider", "model", "multiplier")
    body: dict[str, Any] = {name: view.typed[name] for name in names if view.typed.get(name)}
    body["dry_run"] = view.typed.get("really") != "yes"
    try:
        answer = await view.api.call(cost_imports.import_costs, body=body)
    except (ValidationFailed, NotFound, InvalidRequest) as error:
        return await show_page(view, error)
    return await show_page(view, answer=answer)


PAGES: Mapping[str, Mapping[str, Handler]] = {
    "/console/prices/import": form_for(cost_imports.import_costs, show_page, preview_or_import),
}
