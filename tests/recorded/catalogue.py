"""Every case, in the order in which it is recorded."""

from collections import Counter
from collections.abc import Sequence

from tests.recorded.cases import batch, control, explain, framing, grpc, limits, pages, predict, rpc, tensors, versions
from tests.recorded.exchange import Case


def all_cases() -> Sequence[Case]:
    """Return the cases; raises ValueError where two have one name.

    Files come behind all that returns statistics, as a response that is broken off leaves other counts each time. What
    changes the models of a server comes last.
    """
    groups = (pages, versions, predict, explain, tensors, rpc, grpc, framing, batch, limits, control)
    found = [case for group in groups for case in group.cases()]
    repeated = [name for name, count in Counter(case.name for case in found).items() if count > 1]
    if repeated:
        raise ValueError(f"several cases have one name: {repeated}")
    return found
