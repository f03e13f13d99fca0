"""The protobuf wire format, checked against the protobuf library."""

from hypothesis import given
from hypothesis import strategies as st

from server.rpc.proto.inference_pb2 import ModelInferRequest, ModelReadyRequest
from server.rpc.protocols.wire_format import double_field, length_prefixed, scalar_field, split, string_field, varint

RAW = ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER
texts = st.text(max_size=300)
blobs = st.lists(st.binary(max_size=300), max_size=5)


@st.composite
def requests(draw: st.DrawFn) -> ModelInferRequest:
    """Return an arbitrary request."""
    request = ModelInferRequest(model_name=draw(texts), id=draw(texts), raw_input_contents=draw(blobs))
    for name in draw(st.lists(texts, max_size=4)):
        request.inputs.add(name=name, shape=draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
    return request


@given(requests(), st.integers(0, 1000))
def test_split_is_protobufs_own_reading(request: ModelInferRequest, at: int) -> None:
    """`split` returns a message without its raw contents, and the exact positions of the contents."""
    pieces = request.SerializeToString()
    moved = length_prefixed(RAW, b"first") + pieces + string_field(3, "last") + length_prefixed(99, b"unknown")
    for message in (pieces, moved):
        found = split(message, RAW)
        assert found is not None
        rest, places = found
        whole = ModelInferRequest.FromString(message)
        assert [message[start : start + size] for start, size in places] == list(whole.raw_input_contents)
        del whole.raw_input_contents[:]
        assert ModelInferRequest.FromString(rest) == whole
    cut = pieces[: at % (len(pieces) + 1)]
    found = split(cut, RAW)
    if found is not None:
        rest, places = found
        whole = ModelInferRequest.FromString(cut)
        assert [cut[start : start + size] for start, size in places] == list(whole.raw_input_contents)


@given(st.binary(max_size=60))
def test_split_takes_no_more_than_protobuf(message: bytes) -> None:
    """`split` accepts arbitrary bytes and finds raw contents in the library's order."""
    found = split(message, RAW)
    try:
        whole = ModelInferRequest.FromString(message)
    except Exception:  # noqa: BLE001 # protobuf may raise any type
        return
    if found is not None:
        assert [message[start : start + size] for start, size in found[1]] == list(whole.raw_input_contents)


@given(texts, texts)
def test_strings(name: str, version: str) -> None:
    """The library reads encoded strings."""
    message = ModelReadyRequest.FromString(string_field(1, name) + scalar_field(2, version))
    assert (message.name, message.version) == (name, version)


@given(st.integers(-(2**63), 2**64 - 1))
def test_varints(number: int) -> None:
    """Integers, also negative ones, are encoded like the library's."""
    request = ModelInferRequest.InferInputTensor(shape=[number if number < 2**63 else number - 2**64])
    assert request.SerializeToString() == length_prefixed(3, varint(number))


def test_scalars() -> None:
    """Booleans, doubles and integers have the wire types of the specification."""
    assert scalar_field(1, True) == b"\x08\x01"
    assert scalar_field(1, 300) == b"\x08\xac\x02"
    assert scalar_field(1, 1.0) == double_field(1, 1.0) == b"\x09\0\0\0\0\0\0\xf0\x3f"
