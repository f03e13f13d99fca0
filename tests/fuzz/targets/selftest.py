"""A target with deliberate faults, to test the fuzzer."""

import os
from random import Random
from typing import Final

from tests.fuzz.service import Outcome, Service
from tests.fuzz.target import Target


def _run(_service: Service, data: bytes) -> Outcome:
    """Report an exception for a first byte of 1; end the process for 2."""
    if data[:1] == b"\2":
        os.abort()
    return Outcome(errors=["ValueError: 1"] if data[:1] == b"\1" else [])


def _mutate(_data: bytes, chance: Random) -> bytes:
    return bytes([chance.randrange(4)])


TARGET: Final = Target("selftest", lambda: [b"\0"], _mutate, _run)
