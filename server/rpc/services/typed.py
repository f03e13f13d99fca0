"""Typed service of one model, declared by its manifest: Predict, PredictBatch and PredictStream."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from server.codecs.records import RecordDecoder
from server.codecs.row_estimate import RowEstimate
from server.errors import RequestError
from server.http.caching import CacheValidator, ETagBuilder, unpinned_cache_control
from server.http.handler import SHORT_BYTES
from server.http.message import Body
from server.inference.batcher import Waiter
from server.inference.runner import InferenceRequest, Runner
from server.models.signature import Outputs
from server.rpc.inference_call import LargeMessage, PredictionCall
from server.rpc.method import Context, Method
from server.rpc.protocols.json_messages import JsonMessages
from server.rpc.protocols.message_codec import JSON
from server.rpc.services import typed_descriptor
from server.rpc.services.typed_codec import RequestDecoder, ResponseEncoder
from server.settings import Settings

_FIRST_BYTES: Final = 2.0
"""Initial estimate of the bytes per value in a message; lower than any binary encoding."""


class TypedService:
    """Typed service of one model version."""

    def __init__(self, runner: Runner, settings: Settings, json: JsonMessages, executor: Executor) -> None:
        """Prepare the service for the model of `runner`; `json` decodes JSON that needs protobuf.

        Other large messages of streams are decoded in `executor`.
        """
        manifest = runner.model.manifest
        self.file = typed_descriptor.file(manifest)
        pool = DescriptorPool()  # a separate pool, because two versions may declare one name differently
        pool.Add(self.file)
        package = self.file.package
        message_types = {
            name: GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
            for name in (typed_descriptor.REQUEST, typed_descriptor.BATCH_REQUEST)
        }
        records = RecordDecoder(
            runner.model.signature, settings.max_rows, settings.max_string_bytes, settings.max_json_depth
        )
        self._runner = runner
        self._json = json
        self._decoder = RequestDecoder(runner.model.signature, records, message_types, json.max_bytes)
        self._estimate = RowEstimate(_FIRST_BYTES * len(runner.model.signature.columns), settings.max_rows)
        self._encoder = ResponseEncoder(manifest)
        self._max_batch_rows = settings.max_batch_rows
        self._executor = executor
        self._cache_settings = _CacheSettings(
            ETagBuilder(manifest, runner.model.signature), unpinned_cache_control(settings.cache_s)
        )
        self._path = f"/{package}.{typed_descriptor.service(manifest)}"

    def calls(self) -> Iterator[PredictionCall]:
        """Yield the unary calls of the service."""
        shared = _Shared(self._runner, self._decoder, self._encoder, self._cache_settings, self._json, self._estimate)
        for name, call_class in (("Predict", _Predict), ("PredictBatch", _PredictBatch)):
            yield call_class(f"{self._path}/{name}", shared)

    def stream(self) -> Method:
        """Return the method that streams its responses."""
        return Method(f"{self._path}/PredictStream", stream=self._predict_stream)

    async def _predict_stream(
        self, codec: str, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Yield one response per record; compute at most one batch ahead."""
        try:
            columns = await self._decode(codec, await anext(messages))
        except Exception as error:
            self._runner.counters.fail(error)
            raise
        rows = len(columns[0])
        for start in range(0, rows, self._max_batch_rows):
            batch_columns = [column[start : start + self._max_batch_rows] for column in columns]
            responses: list[bytes] = []
            waiter = Waiter[Body]()
            encode = partial(self._encode_rows, codec, responses)
            self._runner.submit(
                InferenceRequest(self._runner, batch_columns, len(batch_columns[0]), encode), waiter, context.timeout_s
            )
            await waiter.result()
            for response in responses:
                yield response

    async def _decode(self, codec: str, message: bytes) -> Sequence[Any]:
        """Return the columns of a message, decoded in a thread if slow. Raises RequestError."""
        decode = partial(self._decoder.decode, codec, message, several=True)
        if codec == JSON and len(message) <= self._json.max_bytes:
            return await self._json.run(decode, len(message))
        if len(message) <= SHORT_BYTES:
            return decode()
        return await asyncio.get_running_loop().run_in_executor(self._executor, decode)

    def _encode_rows(self, codec: str, responses: list[bytes], outputs: Outputs, start: int, stop: int) -> Body:
        encode = self._encoder.one(codec)
        responses[:] = [encode(outputs, row, row + 1) for row in range(start, stop)]  # a re-run overwrites them
        return b""


class _CacheSettings(NamedTuple):
    """Cache settings of responses to GET calls."""

    tags: ETagBuilder
    cache_control: str


class _Shared(NamedTuple):
    """Dependencies that the calls of a typed service share."""

    runner: Runner
    decoder: RequestDecoder
    encoder: ResponseEncoder
    cache_settings: _CacheSettings
    json: JsonMessages
    estimate: RowEstimate


class _TypedCall(PredictionCall):
    """One unary call of a typed service."""

    def __init__(self, path: str, shared: _Shared) -> None:
        self.path = path
        self._runner, self._decoder, self._encoder, self._cache_settings, self.json, self._estimate = shared

    def admit(self, length: int) -> None:
        """Raise ResourceExhausted if the queue has no room for a large body's rows."""
        if length > SHORT_BYTES:
            try:
                self._runner.check_room(self._estimate.rows(length))
            except RequestError as error:
                self.fail(error)
                raise

    def large_message(self, codec: str, message: bytes) -> LargeMessage | None:
        """Return the message undecoded, or None for a short JSON message.

        Short JSON may need protobuf, which decodes in its own thread.
        """
        if codec == JSON and len(message) <= self.json.max_bytes:
            return None
        size = len(message)

        def decode() -> InferenceRequest[Body]:
            request = self.decode(codec, message)
            self._estimate.learn(size, request.rows)
            return request

        return LargeMessage(self._runner, self._estimate.rows(size), decode)

    def cache_validator(self, codec: str, request: InferenceRequest[Body]) -> CacheValidator:
        """Return a cache validator with a weak tag.

        The tag is the same for compressed and uncompressed responses.
        """
        tag = self._cache_settings.tags.tag(request.columns, f"{self.path} {codec}")
        return CacheValidator(f"W/{tag}", self._cache_settings.cache_control)

    def fail(self, error: Exception) -> None:
        """Count a call that failed before it was queued."""
        self._runner.counters.fail(error)


class _Predict(_TypedCall):
    """Predict call: one record, one prediction."""

    def decode(self, codec: str, message: bytes) -> InferenceRequest[Body]:
        """Decode the record into columns and the encoder of its response."""
        columns = self._decoder.decode(codec, message, several=False)
        return InferenceRequest(self._runner, columns, 1, self._encoder.one(codec))

    def decode_plain(self, message: bytes) -> InferenceRequest[Body] | None:
        """Return the inference request of a record in REST's JSON format; else None."""
        columns = self._decoder.plain(message, several=False)
        return None if columns is None else InferenceRequest(self._runner, columns, 1, self._encoder.one(JSON))


class _PredictBatch(_TypedCall):
    """PredictBatch call: several records, one prediction each."""

    def decode(self, codec: str, message: bytes) -> InferenceRequest[Body]:
        """Decode the records into columns and the encoder of their response."""
        return self._inference_request(codec, self._decoder.decode(codec, message, several=True))

    def decode_plain(self, message: bytes) -> InferenceRequest[Body] | None:
        """Return the inference request of records in REST's JSON format; else None."""
        columns = self._decoder.plain(message, several=True)
        return None if columns is None else self._inference_request(JSON, columns)

    def _inference_request(self, codec: str, columns: Sequence[Any]) -> InferenceRequest[Body]:
        return InferenceRequest(self._runner, columns, len(columns[0]), partial(self._encoder.several, codec))
