"""List of all cases, in recording order."""

from collections import Counter
from collections.abc import Sequence

from tests.recorded.cases import batch, control, explain, framing, grpc, limits, pages, predict, rpc, tensors, versions
from tests.recorded.exchange import Case


def all_cases() -> Sequence[Case]:
    """Return all cases. Raises ValueError if two cases have the same name.

    File cases come after all cases that return statistics, because an aborted response changes the counts by a
    different number each time. Cases that change a server's models come last.
    """
    groups = (pages, versions, predict, explain, tensors, rpc, grpc, framing, batch, limits, control)
    found = [case for group in groups for case in group.cases()]
    repeated = [name for name, count in Counter(case.name for case in found).items() if count > 1]
    if repeated:
        raise ValueError(f"several cases have one name: {repeated}")
    return found
