"""Settings come from the environment, are parsed once and never change."""

import sys
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from libs.common.domain.tags import rolled_up_names

T = TypeVar("T", bound=msgspec.Struct)


class SettingsError(Exception):
    """One line that names the variable."""


class Secret:
    """A value that no log, error or repr can show."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the one place that sends or compares it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def load_settings(settings_type: type[T], environ: Mapping[str, str]) -> T:
    """Reads each field `name` from the variable `NAME`; an empty variable counts as unset.

    White space around a value, such as the line break at the end of a secret's file, is none of it.
    Raises SettingsError where a variable is missing or wrong.
    """
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(settings_type):
        variable = field.name.upper()
        raw = environ.get(variable, "").strip()
        if raw == "":
            if field.required:
                raise SettingsError(f"{variable} is not set; see .env.example")
            continue
        try:
            values[field.name] = msgspec.convert(raw, field.type, strict=False, dec_hook=_secret)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{variable} is wrong: {_fault(field.type, error)}") from None
    return settings_type(**values)


def load_or_exit(settings_type: type[T], environ: Mapping[str, str]) -> T:
    """For `__main__`: a wrong setting ends the process with one line on stderr."""
    try:
        return load_settings(settings_type, environ)
    except SettingsError as error:
        sys.exit(f"{settings_type.__module__}: {error}")


def check_http_url(variable: str, text: str) -> None:
    """Raises SettingsError where no path can be put behind it."""
    try:
        url = urlsplit(text)
        usable = (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and url.port != 0
            and not (url.username or url.query or url.fragment)
            and is_line(text)
            and " " not in text
        )
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"{variable} is wrong: it must be http(s)://host[:port][/path]")


def check_header(variable: str, secret: Secret | None) -> None:
    """Raises SettingsError where no header can hold it."""
    if secret is not None and not is_line(secret.reveal()):
        raise SettingsError(f"{variable} is wrong: it must be printable ASCII on one line")


def check_rollup_tags(text: str) -> None:
    """Raises SettingsError."""
    try:
        rolled_up_names(text)
    except ValueError as error:
        raise SettingsError(f"ROLLUP_TAGS is wrong: {error}") from None


def is_line(text: str) -> bool:
    """Printable ASCII on one line, as all that becomes a part of a request has to be."""
    return text.isascii() and text.isprintable()


def _fault(field_type: Any, error: msgspec.ValidationError) -> str:
    """Omits the value, which may be a secret."""
    if get_origin(field_type) is Literal:
        return f"it must be {' or '.join(get_args(field_type))}"
    return str(error)


def _secret(expected: type, value: Any) -> Any:
    if expected is Secret:
        return Secret(value)
    raise NotImplementedError(expected)
