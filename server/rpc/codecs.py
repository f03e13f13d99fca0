"""Protobuf messages to bytes and back, in the two codecs of every wire: binary and JSON by the protobuf mapping."""

import re
from typing import Final, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from server.errors import InvalidArgument

PROTO: Final = "proto"
JSON: Final = "json"
_SAID: Final = re.compile(r'(?P<what>Message type "[\w.]+" has no field named "[^"]*"|Failed to parse [\w.]+ field)')
"""What may be passed on of the library's words: the rest can be any exception's."""
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
        found = _SAID.match(str(error))
        at = f": {found['what']}" if found else ""
        raise InvalidArgument(f"message: expected {kind.DESCRIPTOR.full_name} in JSON{at[:400]}") from None


def encode(codec: str, message: Message, pool: DescriptorPool | None = None) -> bytes:
    """Return a message's bytes; `pool` knows the types of what is packed in it."""
    if codec == PROTO:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False, descriptor_pool=pool).encode()
