"""The typed service: the .proto text for clients and the server's descriptor are the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.codecs.records import RecordDecoder
from server.models import manifest as manifests
from server.models.manifest import Datatype, Feature, Kind, Manifest, Output
from server.models.signature import DTYPES, Signature
from server.rpc.services import typed_descriptor
from server.rpc.services.typed_codec import RequestDecoder, ResponseEncoder
from server.rpc.services.typed_proto_text import text
from tests.server.support import small

TITANIC: Final = Path(__file__).parents[3] / "models" / "titanic" / "1" / "manifest.json"
DATATYPES: Final[Sequence[Datatype]] = tuple(manifests.PROTOBUF_TYPES)
KINDS: Final[Sequence[Kind]] = ("binary", "multiclass", "regression")

brief = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)


def compiled(manifest: Manifest) -> FileDescriptorProto:
    """Compile a manifest's .proto text with protoc, and return its descriptor."""
    name = typed_descriptor.file(manifest).name
    with TemporaryDirectory() as folder:
        source, target = Path(folder, name), Path(folder, "set.bin")
        source.parent.mkdir(parents=True)
        source.write_bytes(text(manifest).encode())
        status = protoc.main(["protoc", f"-I{folder}", f"--descriptor_set_out={target}", name])
        assert status == 0, text(manifest)
        (file,) = FileDescriptorSet.FromString(target.read_bytes()).file
    return file


def feature(name: str, number: int = 1, **members: Any) -> Feature:  # noqa: ANN401 # of any type
    """Return a feature with this name."""
    described: dict[str, Any] = {"datatype": "FP32", "description": "A number.", "example": 1.0}
    return Feature(name=name, field_number=number, **described | members)


def manifest(features: Sequence[Feature], kind: Kind = "regression", **members: Any) -> Manifest:  # noqa: ANN401
    """Return a manifest with these features; a classifier's default classes are "no" and "yes"."""
    described: dict[str, Any] = {"features": list(features), "kind": kind}
    if kind != "regression":
        classes = members.setdefault("classes", ["no", "yes"])
        label = members.pop("label", "BYTES")
        described["positive_class"] = classes[-1] if kind == "binary" else None
        described["outputs"] = [
            Output(name="label", datatype=label, shape=[-1], role="label"),
            Output(name="probabilities", datatype="FP32", shape=[-1, len(classes)], role="probabilities"),
        ]
    made = small.manifest(b"", **described | members)
    manifests.check(made)
    return made


def message_type(made: Manifest, name: str) -> type[Message]:
    """Return a message class from a manifest's descriptor."""
    declared = typed_descriptor.file(made)
    pool = DescriptorPool()
    pool.Add(declared)
    return GetMessageClass(pool.FindMessageTypeByName(f"{declared.package}.{name}"))


def assert_the_same(made: Manifest) -> None:
    """Check that the text compiles to the descriptor and that protobuf accepts the descriptor."""
    declared = typed_descriptor.file(made)
    assert compiled(made) == declared
    fields = message_type(made, typed_descriptor.REQUEST).DESCRIPTOR.fields
    assert [field.number for field in fields] == [each.field_number for each in made.features]


def test_titanic() -> None:
    """The committed model's text compiles to its service's descriptor."""
    assert_the_same(manifests.read(TITANIC))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_and_kind(datatype: Datatype, kind: Kind) -> None:
    """Text and descriptor agree for every datatype, nullable or not, in every kind of model."""
    null = "NaN" if datatype.startswith("FP") else "" if datatype == "BYTES" else 0
    features = [
        feature("plain", 1, datatype=datatype, example="a" if datatype == "BYTES" else 1),
        feature("nullable", 7, datatype=datatype, nullable=True, null_value=null),
    ]
    assert_the_same(manifest(features, kind, **({} if kind == "regression" else {"label": datatype})))


LABELS: Final[Mapping[Datatype, Any]] = {"BYTES": "yes", "BOOL": True, "FP16": 1.5, "FP32": 1.5, "FP64": 1e300}


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_answers_are_what_the_file_declares(datatype: Datatype, kind: Kind) -> None:
    """A label of any datatype survives encoding to binary and to JSON."""
    made = manifest([feature("x")], kind, label=datatype)
    label = LABELS.get(datatype, 7)
    outputs = [np.array([label], DTYPES[datatype]), np.array([[0.25, 0.75]], np.float32)]
    said: Any = {"label": label, "probabilities": {"no": 0.25, "yes": 0.75}, "model": "small", "version": "1"}
    said |= {"probability": 0.75} if kind == "binary" else {}
    kept = message_type(made, typed_descriptor.RESPONSE)
    encoder = ResponseEncoder(made)
    assert kept.FromString(encoder.one("proto")(outputs, 0, 1)) == kept(**said)
    text = encoder.one("json")(outputs, 0, 1)
    assert json_format.Parse(text, kept()) == kept(**said)
    if datatype in {"INT64", "UINT64"}:  # JSON has no 64-bit numbers
        assert b'"label":"7"' in text


def test_a_feature_named_as_a_method_of_messages() -> None:
    """A feature with the name of a message method is decoded correctly."""
    for name in ("HasField", "DESCRIPTOR", "FromString", "WhichOneof"):
        made = manifest([feature(name, nullable=True, null_value="NaN")])
        signature = Signature(made.features)
        kinds = {each: message_type(made, each) for each in (typed_descriptor.REQUEST, typed_descriptor.BATCH_REQUEST)}
        decoder = RequestDecoder(signature, RecordDecoder(signature, 1), kinds, 98_304)
        field = typed_descriptor.field_names(made.features)[name]
        for members, value in (({}, None), ({field: 2.5}, 2.5)):
            message = kinds[typed_descriptor.REQUEST](**members)
            document = json_format.MessageToJson(message).encode()
            assert [*decoder.decode("proto", message.SerializeToString(), several=False)] == [(value,)]
            assert [*decoder.decode("json", document, several=False)] == [(value,)]


STRANGE: Final = [
    ["a b"],
    ["a b", "a_b", "a-b", "a_b_3"],
    ["a_b_3", "a_b", "a b"],
    ["fooBar", "foo_bar"],
    ["foo_bar", "fooBar"],
    ["foo__bar", "foo_bar_"],
    ["foobar", "FOOBAR", "Foobar"],
    ["message", "optional", "string", "package", "import", "syntax", "rpc", "stream", "map", "oneof", "reserved"],
    ["HasField", "DESCRIPTOR", "class", "None", "SerializeToString", "records_"],
    ["PredictRequest", "Prediction", "lifeboat", "label", "model"],
    [" ", "_", "__"],
    ["1st", "2nd", "f1st"],
    ["größe", "grösse", "größe (cm)", "身長"],
    ["it's", "\x7f", "\u2028", "\ufeff"],
    ["[a]", "[]", "[", "]", "[a] "],
    ["A", "_A", "_a", "a_b", "_a_b"],
]


@pytest.mark.parametrize("names", STRANGE, ids=repr)
@pytest.mark.parametrize("nullable", [False, True])
def test_strange_names(names: list[str], nullable: bool) -> None:
    """Names that are no identifier, duplicates or keywords get a valid field name."""
    features = [
        feature(name, number, nullable=nullable, null_value="NaN" if nullable else None)
        for number, name in enumerate(names, 1)
    ]
    assert_the_same(manifest(features))


@pytest.mark.parametrize("name", ["2 models", "--", "große-Modelle", "message", "a\nb", "a.b", "A-b", "line\n}\n"])
def test_strange_models(name: str) -> None:
    """A model may have any name."""
    assert_the_same(manifest([feature("x")], name=name, api_version=12))


@pytest.mark.parametrize(
    "words", ["one\ntwo\r\nthree\rfour", "a */ b /* c", "", "\n", "\x00 message {", "\\", "\x0b}\x85}"]
)
def test_strange_descriptions(words: str) -> None:
    """Descriptions of models and features stay comments, whatever they contain."""
    described = feature("x", description=words, datatype="BYTES", example=words, categories=[words, "b"])
    assert_the_same(manifest([described], description=words))


_text: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_near: Final = st.text(st.sampled_from("aAbB1_- ."), min_size=1, max_size=4)
_taken: Final = st.sampled_from(["label", "message", "a_b", "aB", "a_b_2"])
_names: Final = st.one_of(_near, _text, _taken)
_plain: Final = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), min_size=1, max_size=8
)
_feature_names: Final = st.one_of(_near, _plain, _taken).filter(lambda name: name != "records")


@st.composite
def _features(draw: st.DrawFn) -> list[Feature]:
    """Return features with arbitrary names, datatypes and numbers."""
    names = draw(st.lists(_feature_names, min_size=1, max_size=5, unique=True))
    free = st.integers(1, 18_999) | st.integers(20_000, manifests.MAX_FIELD_NUMBER)
    numbers = draw(st.lists(free | st.integers(1, 9), min_size=len(names), max_size=len(names), unique=True))
    return [
        feature(
            name,
            number,
            datatype=draw(st.sampled_from(DATATYPES)),
            nullable=(nullable := draw(st.booleans())),
            null_value="NaN" if nullable else None,
            description=draw(_text),
            example=draw(_text),
        )
        for name, number in zip(names, numbers, strict=True)
    ]


@st.composite
def _manifests(draw: st.DrawFn) -> Manifest:
    """Return the manifest of a model of any kind."""
    kind = draw(st.sampled_from(KINDS))
    members: dict[str, Any] = {
        "name": draw(_names),
        "description": draw(_text),
        "api_version": draw(st.integers(1, 99)),
    }
    if kind != "regression":
        members["classes"] = draw(st.lists(_text, min_size=2, max_size=4, unique=True))
        members["label"] = draw(st.sampled_from(DATATYPES))
    return manifest(draw(_features()), kind, **members)


@brief
@given(_manifests())
def test_any_manifest(made: Manifest) -> None:
    """The text of any manifest compiles to the service's descriptor."""
    assert_the_same(made)
