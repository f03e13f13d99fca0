"""How deep a JSON document is nested, told without building it."""

import re
from typing import Final

import numpy as np

from server.errors import InvalidArgument

_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)


def check_depth(document: bytes, max_depth: int) -> None:
    """Raise InvalidArgument where arrays and objects stand more than `max_depth` deep in each other."""
    codes = np.frombuffer(_STRINGS.sub(b"", document), np.uint8)
    steps = np.zeros(len(codes), np.int32)
    steps[(codes == ord("[")) | (codes == ord("{"))] = 1
    steps[(codes == ord("]")) | (codes == ord("}"))] = -1
    if len(steps) and int(np.cumsum(steps).max()) > max_depth:
        raise InvalidArgument(f"body: expected JSON nested at most {max_depth} deep")
