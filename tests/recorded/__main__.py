"""Record the server's responses and compare two recordings: `python -m tests.recorded record|compare`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.recorded import recording
from tests.recorded.comparison import differences


def main(arguments: Sequence[str]) -> int:
    """Run a command. Returns the exit code: 1 if two recordings differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.recorded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="start the server, send all requests, write the responses")
    record.add_argument("file", type=Path)
    record.add_argument("--server-dir", type=Path, default=Path(), help="checkout whose server is recorded")
    compare = commands.add_parser("compare", help="list the differences of two recordings")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    given = parser.parse_args(arguments)
    if given.command == "record":
        return _record(given.file, given.server_dir.resolve())
    return _compare(given.old, given.new)


def _record(file: Path, folder: Path) -> int:
    found = recording.record(folder)
    recording.write(found, file)
    for interface, count in recording.by_interface(found).items():
        print(f"{interface:10} {count:4}")
    print(f"{'all':10} {len(found):4}")
    return 0


def _compare(old: Path, new: Path) -> int:
    found = [*differences(recording.read(old), recording.read(new))]
    for each in found:
        print(each)
    print(f"{len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
