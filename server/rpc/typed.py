"""The typed service of one model: Predict, PredictBatch and PredictStream, as its manifest declares them."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from server.batching import Waiter
from server.caching import Fresh, Tags, moving
from server.records import RecordDecoder
from server.replies import Body
from server.rpc import typed_file
from server.rpc.calls import PredictionCall
from server.rpc.methods import Context, Method
from server.rpc.typed_codec import RequestDecoder, ResponseEncoder
from server.runner import Runner, Work
from server.settings import Settings
from server.signature import Outputs


class TypedService:
    """One model version behind the service that its manifest declares."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        """Do for the model of `runner` what need not be done for each call."""
        manifest = runner.model.manifest
        self.file = typed_file.file(manifest)
        pool = DescriptorPool()  # of its own: two versions may declare one name differently
        pool.Add(self.file)
        where = self.file.package
        kinds = {
            name: GetMessageClass(pool.FindMessageTypeByName(f"{where}.{name}"))
            for name in (typed_file.REQUEST, typed_file.BATCH_REQUEST)
        }
        records = RecordDecoder(
            runner.model.signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth
        )
        self._runner = runner
        self._decoder = RequestDecoder(runner.model.signature, records, kinds)
        self._encoder = ResponseEncoder(manifest)
        self._max_batch_rows = settings.max_batch_rows
        self._kept = _Kept(Tags(manifest, runner.model.signature), moving(settings.cache_s))
        self._path = f"/{where}.{typed_file.service(manifest)}"

    def calls(self) -> Iterator[PredictionCall]:
        """Yield the calls that one run answers."""
        for name, kind in (("Predict", _Predict), ("PredictBatch", _PredictBatch)):
            yield kind(f"{self._path}/{name}", self._runner, self._decoder, self._encoder, self._kept)

    def stream(self) -> Method:
        """Return the call whose answers come one by one."""
        return Method(f"{self._path}/PredictStream", stream=self._predict_stream)

    async def _predict_stream(
        self, codec: str, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer each record in a message of its own; no more of them are computed ahead than a batch holds."""
        try:
            columns = self._decoder.decode(codec, await anext(messages), several=True)
        except Exception as error:
            self._runner.counters.fail(error)
            raise
        rows = len(columns[0])
        for start in range(0, rows, self._max_batch_rows):
            some = [column[start : start + self._max_batch_rows] for column in columns]
            answers: list[bytes] = []
            waiter = Waiter[Body]()
            encode = partial(self._each, codec, answers)
            self._runner.submit(Work(self._runner, some, len(some[0]), encode), waiter, context.timeout_s)
            await waiter.answer()
            for answer in answers:
                yield answer

    def _each(self, codec: str, answers: list[bytes], outputs: Outputs, start: int, stop: int) -> Body:
        encode = self._encoder.one(codec)
        answers[:] = [encode(outputs, row, row + 1) for row in range(start, stop)]  # again, where a run is made again
        return b""


class _Kept(NamedTuple):
    """How answers by GET may be kept."""

    tags: Tags
    cache_control: str


class _TypedCall(PredictionCall):
    """What the calls of a typed service share."""

    def __init__(
        self, path: str, runner: Runner, decoder: RequestDecoder, encoder: ResponseEncoder, kept: _Kept
    ) -> None:
        self.path = path
        self._runner = runner
        self._decoder = decoder
        self._encoder = encoder
        self._kept = kept

    def fresh(self, codec: str, work: Work) -> Fresh:
        """Return a weak tag: it is the same whether or not the answer is compressed."""
        tag = self._kept.tags.tag(work.columns, f"{self.path} {codec}")
        return Fresh(f"W/{tag}", self._kept.cache_control)

    def fail(self, error: Exception) -> None:
        """Count a call that came to nothing before it was queued."""
        self._runner.counters.fail(error)


class _Predict(_TypedCall):
    """One record, one answer."""

    def decode(self, codec: str, message: bytes) -> Work:
        """Return the record's columns, and what answers them."""
        columns = self._decoder.decode(codec, message, several=False)
        return Work(self._runner, columns, 1, self._encoder.one(codec))


class _PredictBatch(_TypedCall):
    """Several records, an answer for each."""

    def decode(self, codec: str, message: bytes) -> Work:
        """Return the records' columns, and what answers them."""
        columns: Any = self._decoder.decode(codec, message, several=True)
        return Work(self._runner, columns, len(columns[0]), partial(self._encoder.several, codec))
