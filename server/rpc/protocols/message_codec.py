"""Codecs for protobuf messages: binary and the protobuf JSON mapping."""

import re
from typing import Final, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from server.codecs.json_errors import find_invalid_part, without_bom
from server.errors import InvalidArgument, PayloadTooLarge
from server.rpc.protocols.wire_format import has_more_fields

PROTO: Final = "proto"
JSON: Final = "json"
_SAFE_ERROR: Final = re.compile(
    r'(?P<what>Message type "[\w.]+" has no field named "[^"]*"|Failed to parse [\w.]+ field)'
)
"""Parts of protobuf's error messages that are safe to return to the client.

The rest may be the text of any exception.
"""
_SPACE: Final = b" \t\r\n"
AnyMessage = TypeVar("AnyMessage", bound=Message)


MAX_FIELDS: Final = 16_384
"""Default limit on the number of a message's fields; nested fields are not counted."""
_LARGE_BYTES: Final = 2 * 1024 * 1024
"""Maximum message size in bytes without a field check; protobuf decodes it within 40 ms.

protobuf holds the GIL while it decodes.
"""


def check_fields(data: bytes, max_fields: int = MAX_FIELDS) -> None:
    """Raise PayloadTooLarge for a binary message with more than `max_fields` fields.

    Each field may use a hundred times its encoded size in memory.
    """
    if has_more_fields(data, max_fields):
        raise PayloadTooLarge(f"message: expected at most {max_fields} fields")


def decode(
    codec: str, message_type: type[AnyMessage], data: bytes, *, strict: bool = False, max_fields: int = MAX_FIELDS
) -> AnyMessage:
    """Decode `data` into a message of `message_type`. JSON is slow: see `json_messages`.

    Unknown fields are ignored, as protobuf specifies, unless `strict` is set. Raises InvalidArgument; PayloadTooLarge
    for a large binary message with more than `max_fields` fields.
    """
    try:
        if codec == PROTO:
            if len(data) > _LARGE_BYTES:
                check_fields(data, max_fields)
            return message_type.FromString(data)
        data = without_bom(data) or data
        if not data.lstrip(_SPACE).startswith(b"{"):  # protobuf parses an empty array as an empty message
            raise json_format.ParseError("it is not an object")
        return json_format.Parse(data, message_type(), ignore_unknown_fields=not strict)
    except DecodeError:
        raise InvalidArgument(f"message: expected {message_type.DESCRIPTOR.full_name} in binary") from None
    except (json_format.ParseError, UnicodeError, RecursionError) as error:
        match = _SAFE_ERROR.match(str(error))
        # The name of a field may have a lone surrogate.
        safe_text = match["what"][:400].encode(errors="replace").decode() if match else None
        part = find_invalid_part(data) or safe_text
        suffix = f": {part}" if part else ""
        raise InvalidArgument(f"message: expected {message_type.DESCRIPTOR.full_name} in JSON{suffix}") from None


def encode(codec: str, message: Message, pool: DescriptorPool | None = None) -> bytes:
    """Encode a message; `pool` resolves the types of its Any fields."""
    if codec == PROTO:
        return message.SerializeToString()
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False, descriptor_pool=pool).encode()
