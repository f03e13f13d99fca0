"""List of all fuzzing targets."""

from collections.abc import Sequence

from tests.fuzz.target import Target
from tests.fuzz.targets import files, folders, rest, rpc, selftest, wires


def targets(names: Sequence[str] = ()) -> list[Target]:
    """Return the targets with these names, or all targets for no names.

    Raises ValueError for unknown names.
    """
    every = [*rest.TARGETS, *rpc.TARGETS, *files.TARGETS, *wires.TARGETS, *folders.targets()]
    if "selftest" in names:
        every.append(selftest.TARGET)
    unknown = set(names) - {target.name for target in every}
    if unknown:
        raise ValueError(
            f"no targets: {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in every)}"
        )
    return [target for target in every if not names or target.name in names]
