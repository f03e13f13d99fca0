"""Thresholds for the figures of this server, checked against the results of one run."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from bench.results import Results


class Held(NamedTuple):
    """A figure and its threshold: at most `bound`, or with `at_least` at least `bound`."""

    what: str
    got: float
    bound: float
    at_least: bool = False

    @property
    def reached(self) -> bool:
        """Whether the figure meets its threshold."""
        return self.got >= self.bound if self.at_least else self.got <= self.bound

    def __str__(self) -> str:
        """Return the figure, its threshold and whether it is reached, in one line."""
        sign = ">=" if self.at_least else "<="
        return f"{'reached    ' if self.reached else 'NOT REACHED'} {self.what}: {self.got:.2f} {sign} {self.bound:g}"


FRAMEWORKS = ("bentoml", "kserve", "litserve", "mlserver", "ray-serve")


def held(results: Results) -> Iterator[Held]:
    """Yield every figure with a threshold that the results contain."""
    ours, tensors = results.rows["lifeboat"].load, results.rows["lifeboat-v2"].load
    yield Held("CPU a prediction, of the echo's, 16 connections", ours["16"].ratio.median, 1.5)
    yield Held("CPU a prediction, of the echo's, 1 connection", ours["1"].ratio.median, 1.9)
    yield Held("CPU an infer call, of the echo's, 16 connections", tensors["16"].ratio.median, 1.7)
    if "lifeboat-binary" in results.rows:
        binary = results.rows["lifeboat-binary"].load["16"].ratio.median
        yield Held("CPU a binary infer call, of the echo's, 16 connections", binary, 1.6)
    if results.many_rows:
        yield Held("CPU of 10,000 rows, binary, of session.run's alone", results.many_rows["ratio"], 1.3)
    yield from _wires(results)
    yield from _batches(results)
    yield from _against_peers(results)
    yield Held("CPU of a start, of the floor's", results.servers["lifeboat"].start_ratio.median, 1.3)
    first, second = results.soak_pss_mb.values()
    yield Held("PSS MB after 200,000 requests", second, 90)
    yield Held("PSS MB grown over the last 100,000", second - first, 2)
    if results.image:
        yield Held("image MB, unpacked", results.image["size_mb"], 200)
        yield Held("seconds to the first right answer at a quarter of a CPU", max(results.image["start_wall_s"]), 3)
        yield Held("what 4 instances answer, of one's", results.image["scaling_median"], 3.6, at_least=True)


def _wires(results: Results) -> Iterator[Held]:
    for wire in results.wires:
        if wire.label.startswith("Predict"):
            yield Held(f"CPU of {wire.label}, of REST's, 16 connections", wire.ratio["16"].median, 1.0)
    if results.loads_ms:
        yield Held("CPU ms that the RPC layer adds to a start", results.loads_ms["rpc_ms"].median, 30)


SHARES: Final = {"csv": (0.5, 400_000), "arrow": (0.8, 700_000)}
"""File format to two thresholds: share of `session.run`'s speed, and rows per second.

If `session.run` alone reaches twice the second threshold, only the second one applies, otherwise only the first.
"""


def _batches(results: Results) -> Iterator[Held]:
    for each in results.batches:
        what = f"{each.form}, {each.model} model"
        if each.form in SHARES:
            share, enough = SHARES[each.form]
            if each.session_rate.median > 2 * enough:
                yield Held(f"rows a second of {what}", each.rate.median, enough, at_least=True)
            else:
                yield Held(f"CPU of session.run alone, of {what}", each.ratio.median, share, at_least=True)
        yield Held(f"MB that a million rows take more than 50,000, {what}", each.grown_mb.median, 20)
        if each.beside:
            yield Held(f"p99 of a prediction beside {what}, of the quiet one", each.beside.p99_ratio.median, 5)


def _against_peers(results: Results) -> Iterator[Held]:
    peers = {name: row.load["16"] for name, row in results.rows.items() if row.peer}
    ours = results.rows["lifeboat"].load["16"]

    def times_less(name: str, bound: float) -> Held:
        what = f"times less CPU than {results.rows[name].label}, 16 connections"
        return Held(what, peers[name].cpu_us.median / ours.cpu_us.median, bound, at_least=True)

    frameworks = [name for name in FRAMEWORKS if name in peers]
    if frameworks:
        yield times_less(min(frameworks, key=lambda name: peers[name].cpu_us.median), 4)
    for name, bound in (("node", 1.0), ("fastapi-onnxruntime", 2.5), ("fastapi-joblib", 30)):
        if name in peers:
            yield times_less(name, bound)
    if peers:
        least = min(peers.values(), key=lambda load: load.p99_us.median)
        yield Held("p99, of the best peer's, 16 connections", ours.p99_us.median / least.p99_us.median, 1.0)
