"""Exports the gateway's state as a file that declares it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from gatewayctl.client import ApiClient
from gatewayctl.state.differences import equal
from gatewayctl.state.fields import REQUIRED, FieldShape
from gatewayctl.state.kinds import Kind
from gatewayctl.values import Row


def declared_state(client: ApiClient, kinds: Iterable[Kind]) -> Row:
    """Leaves out defaults. Raises CommandError."""
    return {
        "version": 1,
        **{kind.section: _section(kind, [*kind.list_all(client)]) for kind in kinds},
    }


def _section(kind: Kind, rows: Sequence[Row]) -> list[Row]:
    """An object without a name of its own is identified by its id."""
    names = Counter(kind.name_of(row) for row in rows)
    bodies = []
    for row in rows:
        body = _declaration_of(row, kind.shape)
        if body.get("name") and names[kind.name_of(row)] == 1:
            body.pop(kind.id_field or "", None)
        bodies.append(body)
    return bodies


def _declaration_of(row: Mapping[str, Any], shape: FieldShape) -> Row:
    body: Row = {}
    for name, default in shape.own.items():
        value = row.get(name)
        if default is not REQUIRED and (value is None or equal(value, default)):
            continue
        if name in shape.items and isinstance(value, list):
            value = [_declaration_of(item, shape.items[name]) for item in value]
        elif name in shape.objects and isinstance(value, Mapping):
            value = _declaration_of(value, shape.objects[name])
            if not value:
                continue
        body[name] = value
    return body


def yaml_of(content: Row) -> str:
    """With exact numbers."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def number(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
        text = f"{value:f}"
        kind = "float" if "." in text else "int"
        return dumper.represent_scalar(f"tag:yaml.org,2002:{kind}", text)

    Dumper.add_representer(Decimal, number)
    text: str = yaml.dump(
        content, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text
