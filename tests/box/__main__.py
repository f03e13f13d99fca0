"""Run one attack on a server on this machine: `python -m tests.box <attack> <port>`. Each attack ends by itself."""

import sys

from tests.box.attacks import ATTACKS

if __name__ == "__main__":
    name, port = sys.argv[1:]
    (found,) = [each for each in ATTACKS if each.__name__ == name]
    found(("127.0.0.1", int(port)))
