"""Run one attack on a local server: `python -m tests.box <attack> <port>`."""

import sys

from tests.box.attacks import ATTACKS

if __name__ == "__main__":
    name, port = sys.argv[1:]
    (found,) = [each for each in ATTACKS if each.__name__ == name]
    found(("127.0.0.1", int(port)))
