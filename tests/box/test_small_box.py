"""Attacks beside good clients, in 1 GiB and a quarter of a CPU.

tests/e2e does the same with a container engine.
"""

import subprocess
import sys
from typing import Final

import pytest

from tests.box.attacks import ATTACKS, Attack
from tests.box.cgroup import NoBoxError, box
from tests.box.siege import besiege
from tests.server.support.process import HUNG_S
from tests.soak.quiet import quiet_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
_TAKE: Final = "input(); held = [bytearray(b'x' * 2**26) for _ in range(32)]; print(len(held))"
"""Code that waits for a line, then allocates 2 GiB."""


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attack_in_a_small_box(attack: Attack) -> None:
    """During an attack the process survives, and good clients get predictions.

    Afterwards the memory returns to within 20 MB.
    """
    with quiet_server(LIFEBOAT_MAX_BATCHES="2", LIFEBOAT_MAX_EXPLANATIONS="4") as (process, address):
        try:
            with box(process.pid):
                besiege(address, process.pid, [attack])
        except NoBoxError as error:
            pytest.skip(str(error))


def test_the_box_bounds_its_process() -> None:
    """A process that exceeds the memory limit is killed.

    Without this the test above would prove nothing.
    """
    with subprocess.Popen([sys.executable, "-c", _TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            with box(process.pid):
                output, _ = process.communicate(b"\n", timeout=HUNG_S)
        except NoBoxError as error:
            process.kill()
            pytest.skip(str(error))
    assert (output, process.returncode) == (b"", -9)
