"""Protobuf messages to bytes and back, in the two codecs of every wire: binary and JSON by the protobuf mapping."""

from typing import Final, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from server.errors import InvalidArgument

PROTO: Final = "proto"
JSON: Final = "json"
_SPACE: Final = b" \t\r\n"
AnyMessage = TypeVar("AnyMessage", bound=Message)


def decode(codec: str, kind: type[AnyMessage], data: bytes, *, strict: bool = False) -> AnyMessage:
    """Return the message of `kind` that `data` holds.

    A field that isn't known is passed over, as protobuf has it, unless the decoding is to be `strict`.
    Raises InvalidArgument.
    """
    try:
        if codec == PROTO:
            return kind.FromString(data)
        if not data.lstrip(_SPACE).startswith(b"{"):  # an empty array would be taken for a message without fields
            raise json_format.ParseError("it is no object")
        return json_format.Parse(data, kind(), ignore_unknown_fields=not strict)
    except DecodeError:
        raise InvalidArgument(f"message: expected {kind.DESCRIPTOR.full_name} in binary") from None
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        what = str(error) if isinstance(error, json_format.ParseError) else "it is no UTF-8, or nested too deep"
        words = f"message: expected {kind.DESCRIPTOR.full_name} in JSON: {what[:400]}"
        raise InvalidArgument(words) from None


def encode(codec: str, message: Message, pool: DescriptorPool | None = None) -> bytes:
    """Return a message's bytes; `pool` knows the types of what is packed in it."""
    if codec == PROTO:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False, descriptor_pool=pool).encode()
