"""Importing prices: first a dry run, then the import."""

from collections.abc import Mapping
from typing import Any

from htpy import Node, details, div, p, summary

from libs.common.errors import AppError, InvalidRequest, NotFound, ValidationFailed
from libs.common.schemas.price import PriceImport
from services.admin import cost_imports
from services.admin.console.elements import (
    NOTHING,
    Column,
    badge,
    count_text,
    mono,
    panel,
    rows_table,
    when,
)
from services.admin.console.form_fields import FormField
from services.admin.console.forms import confirm_form, error_status, form_of
from services.admin.console.page import (
    ConsolePage,
    PageHandler,
    Shown,
    View,
    form_for,
    go_to,
    segment,
)
from services.admin.console.price_terms import term_name, term_text
from services.admin.cost_imports import ImportView, RowChange


async def show_page(
    view: View, error: AppError | None = None, answer: ImportView | None = None
) -> Shown:
    fields = (
        FormField(path="provider", label="Provider", help="Empty: all of them."),
        FormField(path="model", label="Model", help="Empty: all of them."),
        FormField(
            path="multiplier", label="Multiplier", kind="amount", help="1.1 marks it up by 10 %."
        ),
    )
    form = form_of(
        "/console/prices/import", view.session.csrf, fields, submit="Show what would change",
        typed=view.typed, error=error,
    )  # fmt: skip
    notice = None
    if answer is not None and not answer.dry_run:
        notice = f"Imported {answer.new + answer.changed} prices as {answer.import_id}."
    return ConsolePage(
        name="Import prices",
        notice=notice,
        content=[
            None if answer is None or not answer.dry_run else _difference(view, answer),
            panel("From LiteLLM's bundled map", form),
            await _imports(view),
        ],
        status=error_status(error),
    )


def _difference(view: View, answer: ImportView) -> Node:
    fields = {name: text for name, text in view.typed.items() if name != "really"}
    columns = (Column("Model"), Column("Provider"), Column("Change"), Column("From and to"))
    rows = [[row.model, row.provider, row.change, _terms(row)] for row in answer.changes]
    go = confirm_form(
        "/console/prices/import", view.session.csrf, submit="Import them",
        asks=f"Stores {answer.new} new and {answer.changed} changed prices; from now on they win "
        "over the bundled map. An import can be undone as a whole.",
        hidden={**fields, "really": "yes"},
    )  # fmt: skip
    return panel(
        "What would change",
        p[f"{answer.new} new, {answer.changed} changed, {answer.same} as now, {answer.kept} kept."],
        _left_out(answer),
        rows_table("Changes", columns, rows, empty=p["Nothing would change."]),
        answer.next_cursor
        and p[f"These are the first {len(rows):,}; POST /admin/costs/import lists them all."],
        go if answer.new or answer.changed else None,
    )


def _terms(row: RowChange) -> Node:
    """`kept` is why a row is not imported: a price of somebody's own is in force."""
    terms = [
        f"{term_name(name)}: {term_text(change.before)} \u2192 {term_text(change.after)}"
        for name, change in row.differences.items()
    ]
    if row.change == "kept" and row.in_force is not None:
        terms.append(f"{row.in_force.source} {row.in_force.price_id} stays in force")
    return [div[each] for each in terms] or NOTHING


def _left_out(answer: ImportView) -> Node:
    skipped = [f"{number:,} {why.replace('_', ' ')}" for why, number in answer.skipped.items()]
    return [
        bool(skipped) and p[f"Left out: {', '.join(skipped)}."],
        bool(answer.unreadable)
        and p["Not understood: ", ", ".join(f"{each.path} ({each.message})"
              for each in answer.unreadable), "."],
        bool(answer.undated.models)
        and p[f"{answer.undated.models:,} rows hold for a time that the map does not date."],
    ]  # fmt: skip


async def _imports(view: View) -> Node:
    page = await view.api.call(cost_imports.list_imports, query={"limit": 20})
    columns = (
        Column("Import"), Column("In force from"), Column("Prices", "number"), Column("State"),
        Column("Do"),
    )  # fmt: skip
    rows = [[*_import_row(view, each)] for each in page.data]
    empty = p["Nothing was imported: prices are those that were set here, and the bundled map's."]
    return panel("Imports so far", rows_table("Imports", columns, rows, empty=empty))


def _import_row(view: View, each: PriceImport) -> list[Node]:
    undo = confirm_form(
        f"/console/prices/import/{segment(each.import_id)}/undo", view.session.csrf,
        submit="Undo this import",
        asks=f"Its {each.versions:,} prices count no longer, not even for the time since: what was "
        "before is in force again. Entries that they priced stay as they are.",
    )  # fmt: skip
    may = not each.undone and view.api.may(cost_imports.undo_import)
    return [
        mono(each.import_id),
        when(each.effective_from, view.zone),
        count_text(each.versions),
        badge("undone") if each.undone else badge("counts", "good"),
        details[summary["Undo"], undo] if may else NOTHING,
    ]


async def undo(view: View) -> Shown:
    import_id = view.request.path_params["import_id"]
    await view.api.call(cost_imports.undo_import, import_id=import_id)
    return go_to("/console/prices/import")


async def preview_or_import(view: View) -> Shown:
    names = ("provider", "model", "multiplier")
    body: dict[str, Any] = {name: view.typed[name] for name in names if view.typed.get(name)}
    body["dry_run"] = view.typed.get("really") != "yes"
    try:
        answer = await view.api.call(cost_imports.import_costs, body=body)
    except (ValidationFailed, NotFound, InvalidRequest) as error:
        return await show_page(view, error)
    return await show_page(view, answer=answer)


PAGES: Mapping[str, Mapping[str, PageHandler]] = {
    "/console/prices/import": form_for(cost_imports.import_costs, show_page, preview_or_import),
    "/console/prices/import/{import_id}/undo": {"POST": undo},
}
