"""Tests of field numbers and API versions of a new contract after the newest published one."""

from itertools import permutations
from typing import Any, Final

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from export.registry.compatibility import follow, incompatible_changes
from server.models import manifest as manifests
from server.models.manifest import Datatype, Feature, Manifest
from tests.server.support import small

TYPES: Final[dict[Datatype, FieldDescriptorProto.Type.ValueType]] = {
    "BOOL": FieldDescriptorProto.TYPE_BOOL,
    "INT8": FieldDescriptorProto.TYPE_INT32,
    "INT16": FieldDescriptorProto.TYPE_INT32,
    "INT32": FieldDescriptorProto.TYPE_INT32,
    "INT64": FieldDescriptorProto.TYPE_INT64,
    "UINT8": FieldDescriptorProto.TYPE_UINT32,
    "UINT16": FieldDescriptorProto.TYPE_UINT32,
    "UINT32": FieldDescriptorProto.TYPE_UINT32,
    "UINT64": FieldDescriptorProto.TYPE_UINT64,
    "FP16": FieldDescriptorProto.TYPE_FLOAT,
    "FP32": FieldDescriptorProto.TYPE_FLOAT,
    "FP64": FieldDescriptorProto.TYPE_DOUBLE,
    "BYTES": FieldDescriptorProto.TYPE_STRING,
}


def _feature(name: str, datatype: Datatype, number: int = 0, *, nullable: bool = False) -> Feature:
    null = 0 if nullable else None
    return Feature(
        name=name,
        datatype=datatype,
        description="",
        example=0,
        nullable=nullable,
        null_value=null,
        field_number=number,
    )


def _contract(*features: Feature, **members: Any) -> Manifest:  # noqa: ANN401 # any type
    return small.manifest(b"", **{"features": list(features), **members})


def _numbers(manifest: Manifest) -> dict[str, int]:
    return {feature.name: feature.field_number for feature in manifest.features}


COUNT: Final = _feature("count", "INT32", 2)
AGE: Final = _feature("age", "FP32", 5, nullable=True)
WORD: Final = _feature("word", "BYTES", 1)
CABIN: Final = _feature("cabin", "BYTES", nullable=True)
PUBLISHED: Final = _contract(COUNT, AGE, WORD, api_version=3)
"""A contract with a history: its numbers have gaps and are not in order."""


def test_first_contract() -> None:
    """The first contract has API version 1, and its features are numbered in order."""
    first = follow(None, _contract(replace(AGE, field_number=0), CABIN, WORD, api_version=7))
    assert first.api_version == 1
    assert _numbers(first) == {"age": 1, "cabin": 2, "word": 3}


def test_contract_that_follows_itself() -> None:
    """A contract that follows itself is unchanged, with or without previous numbers."""
    assert follow(PUBLISHED, PUBLISHED) == PUBLISHED
    anew = [replace(feature, field_number=0) for feature in PUBLISHED.features]
    assert follow(PUBLISHED, replace(PUBLISHED, features=anew, api_version=1)) == PUBLISHED


@pytest.mark.parametrize(
    "features",
    [
        [WORD, COUNT, AGE],
        [COUNT, AGE, replace(WORD, description="Told otherwise.", example="b", categories=["a", "b"])],
        [replace(COUNT, minimum=0.0, maximum=9.0, categories=[1]), AGE, WORD],
        [COUNT, replace(AGE, null_value="NaN"), WORD],
        [replace(COUNT, datatype="INT8"), AGE, WORD],
    ],
    ids=["order", "words and categories", "range", "null value", "datatype of the same protobuf type"],
)
def test_compatible_feature(features: list[Feature]) -> None:
    """A change that no message shows keeps the API version and each feature's number."""
    again = follow(PUBLISHED, _contract(*(replace(feature, field_number=0) for feature in features)))
    assert incompatible_changes(PUBLISHED, again) == []
    assert again.api_version == 3
    assert _numbers(again) == {"count": 2, "age": 5, "word": 1}


@pytest.mark.parametrize("members", [{"target": "other"}, {"classes": ["a", "b"]}, {"description": "Told otherwise."}])
def test_compatible_member(members: dict[str, Any]) -> None:
    """Another target, other classes or descriptions keep the API version and each feature's number."""
    again = follow(PUBLISHED, replace(PUBLISHED, **members))
    assert again == replace(PUBLISHED, **members)


def test_nullable_features_are_numbered_after_all_others() -> None:
    """A new nullable feature gets the next number after the largest one."""
    deck = replace(CABIN, name="deck")
    again = follow(PUBLISHED, _contract(CABIN, COUNT, deck, AGE, WORD))
    assert again.api_version == 3
    assert _numbers(again) == {"cabin": 6, "count": 2, "deck": 7, "age": 5, "word": 1}


def test_number_after_protobufs_own_is_skipped() -> None:
    """Numbers that protobuf reserves are skipped."""
    published = _contract(replace(COUNT, field_number=18_999))
    assert _numbers(follow(published, _contract(COUNT, CABIN))) == {"count": 18_999, "cabin": 20_000}


@pytest.mark.parametrize(
    ("features", "changes"),
    [
        ([COUNT, WORD], ["age was removed"]),
        ([COUNT, replace(AGE, name="years"), WORD], ["age was removed"]),
        (
            [COUNT, AGE, replace(WORD, name="text")],
            ["word was removed", "text was added and is not nullable"],
        ),
        ([COUNT, AGE, WORD, _feature("cabin", "BYTES")], ["cabin was added and is not nullable"]),
        ([COUNT, _feature("age", "FP32"), WORD], ["age is no longer nullable"]),
        ([_feature("count", "INT32", nullable=True), AGE, WORD], ["count became nullable"]),
        ([replace(COUNT, datatype="INT64"), AGE, WORD], ["count changed from INT32 to INT64"]),
    ],
    ids=["removed", "nullable renamed", "renamed", "added", "not nullable", "nullable", "protobuf type"],
)
def test_incompatible_feature(features: list[Feature], changes: list[str]) -> None:
    """An incompatible change is reported, and makes a new API version, numbered from 1."""
    described = _contract(*features)
    assert incompatible_changes(PUBLISHED, described) == changes
    again = follow(PUBLISHED, described)
    assert again.api_version == 4
    assert list(_numbers(again).values()) == list(range(1, len(features) + 1))


def test_another_kind() -> None:
    """Another kind of model has other response fields, so it makes a new API version."""
    described = replace(PUBLISHED, kind="multiclass")
    assert incompatible_changes(PUBLISHED, described) == ["kind changed from regression to multiclass"]
    assert follow(PUBLISHED, described).api_version == 4


@pytest.mark.parametrize("datatype", TYPES)
def test_datatypes_of_one_protobuf_type(datatype: Datatype) -> None:
    """A feature's datatype may change only within the same protobuf type."""
    published = follow(None, _contract(_feature("x", datatype)))
    kept = [other for other in TYPES if follow(published, _contract(_feature("x", other))).api_version == 1]
    assert kept == [other for other in TYPES if TYPES[other] == TYPES[datatype]]


_some_features = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            lambda datatype, nullable: (datatype, nullable),
            st.sampled_from(["BOOL", "INT8", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"]),
            st.booleans(),
        )
        for name in "abcde"
    },
)


@st.composite
def _histories(draw: st.DrawFn) -> list[Manifest]:
    """Return consecutively published contracts, each with some changed features."""
    features = draw(_some_features.filter(len))
    published: list[Manifest] = []
    for _ in range(draw(st.integers(2, 4))):
        order = draw(st.permutations(sorted(features)))
        described = _contract(*(_feature(name, features[name][0], nullable=features[name][1]) for name in order))
        published.append(follow(published[-1] if published else None, described))
        change = draw(st.sampled_from(["some", "nullable", "null", "datatype", "less"]))
        if change == "some":
            features = features | draw(_some_features)
        elif change == "nullable":
            features = {name: (datatype, True) for name, (datatype, _) in draw(_some_features).items()} | features
        elif change == "null":
            name = draw(st.sampled_from(sorted(features)))
            features = features | {name: (features[name][0], not features[name][1])}
        elif change == "datatype":
            wider = {"INT8": "INT32", "FP16": "FP32"}
            features = {name: (wider.get(datatype, datatype), null) for name, (datatype, null) in features.items()}
        elif len(features) > 1:
            features = {name: features[name] for name in sorted(features)[1:]}
    return published


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(_histories())
def test_callers_of_one_api_version_understand_each_other(history: list[Manifest]) -> None:
    """Contracts of one API version read each other's bytes alike; unknown features are null."""
    for manifest in history:
        manifests.check(manifest)
    for writer, reader in permutations(history, 2):
        if writer.api_version == reader.api_version:
            for sent in _messages(writer):
                read = _message_class(reader).FromString(sent.SerializeToString())
                meant = {feature.name: _value(sent, feature) for feature in writer.features}
                for feature in reader.features:
                    assert _value(read, feature) == meant.get(feature.name), feature.name
    assert [manifest.api_version for manifest in history] == sorted(manifest.api_version for manifest in history)


def _message_class(manifest: Manifest) -> type[Message]:
    """Return the message class for one record, as protoc would compile it."""
    file = descriptor_pb2.FileDescriptorProto(name="record.proto", syntax="proto3")
    message = file.message_type.add(name="Record")
    for feature in manifest.features:
        field = message.field.add(
            name=feature.name,
            number=feature.field_number,
            type=TYPES[feature.datatype],
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )
        if feature.nullable:
            field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{feature.name}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Record"))


def _messages(manifest: Manifest) -> list[Message]:
    """Return three records: with values, with zeros, and with null wherever possible."""
    record = _message_class(manifest)
    values: dict[str, Any] = {"BOOL": True, "BYTES": "a"}
    some = {feature.name: values.get(feature.datatype, 7) for feature in manifest.features}
    return [record(**some), record(**{name: type(value)() for name, value in some.items()}), record()]


def _value(message: Message, feature: Feature) -> object:
    """Return a feature's value in a message; None for null."""
    return None if feature.nullable and not message.HasField(feature.name) else getattr(message, feature.name)
