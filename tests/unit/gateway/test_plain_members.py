"""A plain member means the same to every look at a body as the long way round says."""

import json

import msgspec
import pytest

from libs.common.domain.holds import PLAIN_TEXT
from libs.common.schemas.usage import ClientFormat
from services.gateway.formats.billable_features import billable_features
from services.gateway.formats.named_models import named_models
from services.gateway.formats.object_fields import OBJECT_FIELDS
from services.gateway.formats.objects import named_objects
from services.gateway.formats.plain_members import PLAIN_MEMBERS

VALUES = ("x", True, ["audio", "x"], [{"type": "web_search"}], [{"id": "web"}], {"id": "x"})
# With a member that is not plain, every look goes the long way.
OTHER = {"x_other": 1}


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(body, type=dict[str, msgspec.Raw])


@pytest.mark.parametrize("member", sorted(PLAIN_MEMBERS))
def test_the_long_way_finds_nothing_in_a_plain_member(member: str) -> None:
    for value in VALUES:
        body = json.dumps({member: value} | OTHER).encode()
        fields = fields_of(body)
        assert billable_features(body, fields, disguised=False) is PLAIN_TEXT
        assert named_models(body, fields, disguised=False) == ()
        for client_format in OBJECT_FIELDS:
            assert named_objects(client_format, body, fields, disguised=False) == ()


@pytest.mark.parametrize("client_format", ["chat", "messages", "responses"])
def test_features_and_objects_in_plain_members_are_found(client_format: ClientFormat) -> None:
    body = json.dumps(
        {
            "model": "m",
            "system": [{"text": "x", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"type": "input_audio", "role": "user", "content": {"model": "other"}}],
        }
    ).encode()
    fields = fields_of(body)
    assert fields.keys() <= PLAIN_MEMBERS
    features = billable_features(body, fields, disguised=False)
    assert features.cache_writes
    assert features.audio_input
    assert [model.name for model in named_models(body, fields, disguised=False)] == ["other"]
    for disguised in (False, True):
        file = json.dumps({"messages": [{"file_id": "file-1"}]}).encode()
        found = named_objects(client_format, file, fields_of(file), disguised=disguised)
        assert [named.id for named in found] == ["file-1"]
