"""The kinds of declared objects: how each is found, made, changed and removed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gatewayctl.client import ApiClient, at
from gatewayctl.errors import Refused
from gatewayctl.state.fields import ACCOUNT, KEY, PRICE, RECEIVER, ROUTE, FieldShape
from gatewayctl.values import Row

# Made by the admin service itself, for its tests of routes.
TESTS = "gateway-tests"
_ALL = 1_000_000
_NOT_FOUND = 404


@dataclass(frozen=True)
class Stored:
    """A stored object; `etag` is the revision on which a change must be based."""

    row: Row
    path: str
    etag: str | None


@dataclass(frozen=True)
class Kind:
    """`whole`: what is not declared has its default, since each change is a new version.

    One of `found_by` has to be given. `find` raises Refused where several answer to a name; an
    object has an id (`id_field`) beside it where its name may be another's too. `list_all` yields
    all that a file may declare.
    """

    name: str
    section: str
    shape: FieldShape
    identity: tuple[str, ...]
    found_by: tuple[str, ...]
    find: Callable[[ApiClient, Row], Stored | None]
    list_all: Callable[[ApiClient], Iterator[Row]]
    path: str
    removal: str
    remove: Callable[[ApiClient, Row], None]
    whole: bool = False
    id_field: str | None = None

    def name_of(self, row: Row) -> str:
        """Of one without a name, its id stands in its place."""
        own_id = row.get(self.id_field or "") or ""
        return "/".join(str(row.get(part, "*") or own_id) for part in self.identity)

    def create(self, client: ApiClient, body: Row) -> Row:
        row: Row = client.post(self.path, body)
        return row

    def change(self, client: ApiClient, stored: Stored, patch: Row) -> None:
        """Over the revision that the change was computed from. Raises CommandError."""
        client.change(stored.path, patch, etag=stored.etag)


def read_object(client: ApiClient, path: str) -> Stored | None:
    try:
        answer = client.ask("GET", path)
    except Refused as error:
        if error.status == _NOT_FOUND:
            return None
        raise
    return Stored(answer.content, path, answer.etag)


def _account(client: ApiClient, body: Row) -> Stored | None:
    return read_object(client, at("/admin/accounts/{}", body["user_id"]))


def _accounts(client: ApiClient) -> Iterator[Row]:
    for row in client.pages("/admin/accounts", {}, _ALL):
        if row["user_id"] != TESTS:
            yield row


def _key(client: ApiClient, body: Row) -> Stored | None:
    """By its id or the hash of its secret, else by its name within its account."""
    identifier = body.get("key_id") or body.get("key_sha256")
    if identifier:
        return read_object(client, at("/admin/keys/{}", identifier))
    query = {"user_id": body["user_id"], "q": body["name"][:100]}
    try:
        rows = [
            row
            for row in client.pages("/admin/keys", query, _ALL)
            if row["name"] == body["name"] and row["status"] != "revoked"
        ]
    except Refused as error:
        # Its account is not there yet.
        if error.status == _NOT_FOUND:
            return None
        raise
    return _only(client, rows, "key_id", "/admin/keys/{}", body["name"])


def _keys(client: ApiClient) -> Iterator[Row]:
    for row in client.pages("/admin/keys", {}, _ALL):
        if row["user_id"] != TESTS and row["status"] != "revoked":
            yield row


def _route(client: ApiClient, body: Row) -> Stored | None:
    return read_object(client, at("/admin/models/{}", body["model"]))


def _price(client: ApiClient, body: Row) -> Stored | None:
    """The administrators' own that is in force."""
    provider = body.get("provider", "*")
    rows = client.pages("/admin/costs", {"model": body["model"], "source": "admin"}, _ALL)
    for row in rows:
        if row["model"] == body["model"] and row["provider"] == provider:
            return Stored(row, at("/admin/costs/{}", row["price_id"]), None)
    return None


def _prices(client: ApiClient) -> Iterator[Row]:
    return client.pages("/admin/costs", {"source": "admin"}, _ALL)


def _receiver(client: ApiClient, body: Row) -> Stored | None:
    if body.get("receiver_id"):
        return read_object(client, at("/admin/alerts/receivers/{}", body["receiver_id"]))
    rows = [row for row in _receivers(client) if row["name"] == body["name"]]
    return _only(client, rows, "receiver_id", "/admin/alerts/receivers/{}", body["name"])


def _receivers(client: ApiClient) -> Iterator[Row]:
    return client.pages("/admin/alerts/receivers", {}, _ALL)


def _only(client: ApiClient, rows: list[Row], id_field: str, path: str, name: str) -> Stored | None:
    if len(rows) > 1:
        ids = ", ".join(row[id_field] for row in rows[:5])
        raise Refused(
            f"{len(rows)} have the name {name!r}: {ids}.",
            way_out="give them names of their own: which one is meant cannot be told",
        )
    return read_object(client, at(path, rows[0][id_field])) if rows else None


def _deleter(pattern: str, id_field: str) -> Callable[[ApiClient, Row], None]:
    def delete(client: ApiClient, row: Row) -> None:
        client.delete(at(pattern, row[id_field]))

    return delete


def _archive(client: ApiClient, row: Row) -> None:
    client.change(at("/admin/accounts/{}", row["user_id"]), {"status": "archived"})


ACCOUNTS = Kind(
    "account", "accounts", ACCOUNT, ("user_id",), ("user_id",), _account, _accounts,
    "/admin/accounts", "archive", _archive,
)  # fmt: skip
PRICES = Kind(
    "price", "prices", PRICE, ("provider", "model"), ("model",), _price, _prices,
    "/admin/costs", "end", _deleter("/admin/costs/{}", "price_id"), whole=True,
)  # fmt: skip
ROUTES = Kind(
    "route", "routes", ROUTE, ("model",), ("model",), _route,
    lambda client: client.pages("/admin/models", {}, _ALL),
    "/admin/models", "delete", _deleter("/admin/models/{}", "model"),
)  # fmt: skip
KEYS = Kind(
    "key", "keys", KEY, ("user_id", "name"), ("name", "key_id", "key_sha256"), _key, _keys,
    "/admin/keys", "revoke", _deleter("/admin/keys/{}", "key_id"),
    id_field="key_id",
)  # fmt: skip
RECEIVERS = Kind(
    "receiver", "receivers", RECEIVER, ("name",), ("name", "receiver_id"), _receiver, _receivers,
    "/admin/alerts/receivers", "remove", _deleter("/admin/alerts/receivers/{}", "receiver_id"),
    id_field="receiver_id",
)  # fmt: skip
# What is named comes before what names it.
KINDS: tuple[Kind, ...] = (ACCOUNTS, PRICES, ROUTES, KEYS, RECEIVERS)
BY_SECTION: dict[str, Kind] = {kind.section: kind for kind in KINDS}
