"""Tables straight out of PostgreSQL, read in one snapshot and never written."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from gatewayctl.errors import Failed, Misused
from gatewayctl.migration.table_files import MAX_ROWS, Tables

if TYPE_CHECKING:
    import pg8000.native

_PORT = 5432
_TIMEOUT_S = 30
_NO_TLS = {"disable", "allow", "prefer"}


def read_database(
    url: str, names: Collection[str], prefix: str, environ: Mapping[str, str]
) -> Tables:
    """`prefix` is of the names of all tables of the source. Raises CommandError."""
    connection = _connect(url, environ.get("PGPASSWORD"))
    try:
        return _tables(connection, names, prefix, _schema(url))
    except _errors() as error:
        raise Failed(f"The database answers: {_reason(error)}") from None
    finally:
        connection.close()


def has_password(url: str) -> bool:
    return urlsplit(url).password is not None


def _connect(url: str, password: str | None) -> "pg8000.native.Connection":
    try:
        import pg8000.native
    except ImportError:
        raise Misused(
            "Reading a database needs pg8000.", way_out="install it with the extra `migrate`"
        ) from None
    try:
        parts = urlsplit(url)
        port = parts.port or _PORT
    except ValueError as error:
        raise Misused(f"The database's URL cannot be read: {error}") from None
    if parts.scheme not in ("postgres", "postgresql") or not parts.username:
        raise Misused("The database's URL must be postgresql://user@host/database.")
    query = parse_qs(parts.query)
    mode = query.get("sslmode", ["prefer"])[0]
    try:
        return pg8000.native.Connection(
            unquote(parts.username),
            host=unquote(parts.hostname or "localhost"),
            port=port,
            database=unquote(parts.path.lstrip("/")) or unquote(parts.username),
            password=password if parts.password is None else unquote(parts.password),
            ssl_context=None if mode in _NO_TLS else True,
            timeout=_TIMEOUT_S,
            application_name="gatewayctl",
        )
    except _errors() as error:
        address = f"{parts.hostname}:{port}{parts.path}"
        raise Failed(f"The database at {address} cannot be read: {_reason(error)}") from None


def _errors() -> tuple[type[Exception], ...]:
    import pg8000.exceptions

    return (pg8000.exceptions.Error, OSError)


def _reason(error: Exception) -> str:
    """Without the values of rows, which a server may quote."""
    detail = error.args[0] if error.args else ""
    return str(detail.get("M")) if isinstance(detail, dict) else str(detail or error)


def _schema(url: str) -> str:
    """As Prisma's URLs name it."""
    return parse_qs(urlsplit(url).query).get("schema", ["public"])[0]


def _tables(
    connection: "pg8000.native.Connection", names: Collection[str], prefix: str, schema: str
) -> Tables:
    connection.run("START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    records = connection.run(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = :schema",
        schema=schema,
    )
    present = sorted(name for (name,) in records or () if name.startswith(prefix))
    if not set(present) & set(names):
        raise Misused(f"The schema {schema!r} has none of the tables {', '.join(names)}.")
    tables = Tables()
    for name in present:
        table = f"{_quote(schema)}.{_quote(name)}"
        if name not in names:
            if connection.run(f"SELECT 1 FROM {table} LIMIT 1"):  # noqa: S608 - quoted
                tables.others.add(name)
            continue
        rows: Any = connection.run(f"SELECT * FROM {table} LIMIT {MAX_ROWS + 1}")  # noqa: S608
        header = [column["name"] for column in connection.columns or ()]
        for values in rows or ():
            tables.add(name, dict(zip(header, values, strict=True)))
    connection.run("ROLLBACK")
    return tables


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
