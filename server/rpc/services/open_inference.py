"""inference.GRPCInferenceService: the Open Inference Protocol with Triton's extensions."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from server.errors import NotFound, RequestError
from server.http.message import Body
from server.inference.metadata import Description, MetadataService
from server.inference.runner import Encode, InferenceRequest, Runner, Runners, no_rows
from server.models.control import ModelControl
from server.models.repository import Repository
from server.models.session import Model
from server.rpc.inference_call import LargeMessage, PredictionCall
from server.rpc.method import Context
from server.rpc.proto import inference_pb2 as pb
from server.rpc.protocols import message_codec
from server.rpc.protocols.json_messages import JsonMessages
from server.rpc.protocols.wire_format import split
from server.rpc.services.open_inference_codec import RAW_INPUTS, ByteRange, InferDecoder, InferEncoder, Layout
from server.settings import Settings

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_MAX_PLANS: Final = 64
_PLAN_BYTES: Final = 4096
"""Maximum request size without its raw contents, in bytes, for a cached plan.

Together with `_MAX_PLANS` it bounds the memory of the cache.
"""
_FINAL: Final = "triton_final_response"
"""Parameter that marks the last response to a request of a stream.

Here each request has exactly one response.
"""
_Response = TypeVar("_Response", bound=Message)


class _Inferrer:
    """Decoder and encoder of one model version for the infer calls."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        self.runner = runner
        self.decoder = InferDecoder(runner.model.signature, settings.max_rows, settings.max_string_bytes)
        self.encoder = InferEncoder(runner.model.manifest)


class _Plan(NamedTuple):
    """Parsed request without its raw contents, shared by all requests that differ only in these."""

    inferrer: _Inferrer
    layout: Layout
    encode: Encode[Body]
    timeout_s: float | None


class _Caches(NamedTuple):
    """Caches that are valid while the same models are served.

    Each user keeps a reference to the instance it started with; a user may run in a thread. Entries added for a model
    that is no longer served are thus unreachable from the current instance.
    """

    inferrers: dict[Model, _Inferrer]
    plans: dict[bytes, _Plan]


class ModelInfer(PredictionCall):
    """ModelInfer call: input tensors to output tensors, for the model named in the message.

    Clients repeat requests: mostly, only the raw contents differ. So the rest of a request is cached as a plan, keyed
    by its bytes. On a hit only the contents are decoded.
    """

    path = f"/{SERVICE.full_name}/ModelInfer"

    def __init__(self, repository: Repository, runners: Runners, settings: Settings, json: JsonMessages) -> None:
        """Serve the models of `repository`; `json` decodes large JSON requests."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self.json = json
        self._caches = _Caches({}, {})

    def clear_caches(self) -> None:
        """Clear the caches because the served models changed.

        Lookups that are in progress do not add to the new caches.
        """
        self._caches = _Caches({}, {})

    def decode(self, codec: str, message: bytes) -> InferenceRequest[Body]:
        """Decode a request into its columns and the encoder of its response."""
        parts = split(message, RAW_INPUTS) if codec == message_codec.PROTO else None
        if parts is not None and parts[1]:
            return self._raw(message, *parts)
        if codec == message_codec.JSON:
            self.json.check_size(len(message))
        request = message_codec.decode(codec, pb.ModelInferRequest, message)
        raw = request.raw_input_contents
        inferrer = self._inferrer(self._caches, request)
        try:
            layout = inferrer.decoder.layout(request, len(raw))
            if raw:
                ranges = [(sum(map(len, raw[:index])), len(each)) for index, each in enumerate(raw)]
                columns = inferrer.decoder.raw(layout, b"".join(raw), ranges)
            else:
                columns = inferrer.decoder.typed(layout, request)
            inference = layout.inference(columns)
            encode = inferrer.encoder.encoder(codec, inference, is_raw=bool(raw))
        except RequestError as error:
            inferrer.runner.counters.fail(error)
            raise
        if not layout.rows:
            return no_rows(inferrer.runner, encode, inference.timeout_s)
        return InferenceRequest(inferrer.runner, columns, layout.rows, encode, inference.timeout_s)

    def large_message(self, codec: str, message: bytes) -> LargeMessage | None:
        """Return a binary request with its model and row count, but undecoded contents.

        Raises RequestError.
        """
        if codec == message_codec.JSON:
            return None
        message_codec.check_fields(message)
        parts = split(message, RAW_INPUTS)
        caches = self._caches
        if parts is not None and parts[1]:
            rest, ranges = parts
            plan = self._cached_plan(caches, rest, len(ranges))
            return LargeMessage(plan.inferrer.runner, plan.layout.rows, lambda: _planned_request(plan, message, ranges))
        request = message_codec.decode(codec, pb.ModelInferRequest, message)
        if request.raw_input_contents:
            return None
        inferrer = self._inferrer(caches, request)
        try:
            layout = inferrer.decoder.layout(request, 0)
            inference = layout.inference(())
            encode = inferrer.encoder.encoder(codec, inference, is_raw=False)
        except RequestError as error:
            inferrer.runner.counters.fail(error)
            raise

        def decode() -> InferenceRequest[Body]:
            columns = inferrer.decoder.typed(layout, request)
            return InferenceRequest(inferrer.runner, columns, layout.rows, encode, inference.timeout_s)

        return LargeMessage(inferrer.runner, layout.rows, decode)

    def fail(self, error: Exception) -> None:
        """Do nothing: `decode` counts failures, because only it knows the model."""

    def _raw(self, message: bytes, rest: bytes, ranges: Sequence[ByteRange]) -> InferenceRequest[Body]:
        """Return the inference request for raw contents at `ranges` in `message`."""
        plan = self._cached_plan(self._caches, rest, len(ranges))
        try:
            return _planned_request(plan, message, ranges)
        except RequestError as error:
            plan.inferrer.runner.counters.fail(error)
            raise

    def _cached_plan(self, caches: _Caches, rest: bytes, raw: int) -> _Plan:
        plan = caches.plans.get(rest)
        if plan is None or len(plan.layout.features) != raw:
            plan = self._create_plan(caches, rest, raw)
        return plan

    def _create_plan(self, caches: _Caches, rest: bytes, raw: int) -> _Plan:
        request = message_codec.decode(message_codec.PROTO, pb.ModelInferRequest, rest)
        inferrer = self._inferrer(caches, request)
        try:
            layout = inferrer.decoder.layout(request, raw)
            inference = layout.inference(())
            encode = inferrer.encoder.encoder(message_codec.PROTO, inference, is_raw=True)
        except RequestError as error:
            inferrer.runner.counters.fail(error)
            raise
        plan = _Plan(inferrer, layout, encode, inference.timeout_s)
        if len(rest) <= _PLAN_BYTES:
            if len(caches.plans) >= _MAX_PLANS:
                caches.plans.clear()
            caches.plans[rest] = plan
        return plan

    def _inferrer(self, caches: _Caches, request: pb.ModelInferRequest) -> _Inferrer:
        model = self._repository.resolve(request.model_name, request.model_version or None)
        if model not in caches.inferrers:
            caches.inferrers[model] = _Inferrer(self._runners[model], self._settings)
        return caches.inferrers[model]


def _planned_request(plan: _Plan, message: bytes, ranges: Sequence[ByteRange]) -> InferenceRequest[Body]:
    """Return the inference request for raw contents at `ranges`. Raises RequestError."""
    columns = plan.inferrer.decoder.raw(plan.layout, message, ranges)
    if not plan.layout.rows:
        return no_rows(plan.inferrer.runner, plan.encode, plan.timeout_s)
    return InferenceRequest(plan.inferrer.runner, columns, plan.layout.rows, plan.encode, plan.timeout_s)


class InferenceHandlers:
    """Handlers of the protocol's other calls, and of the stream of infer calls."""

    def __init__(
        self, repository: Repository, descriptions: MetadataService, control: ModelControl, infer: ModelInfer
    ) -> None:
        """Use `descriptions` for metadata, `control` to load models, and `infer` for streams."""
        self._repository = repository
        self._descriptions = descriptions
        self._control = control
        self._infer = infer

    async def server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        """Report that the server is live."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _request: pb.ServerReadyRequest, _context: Context) -> pb.ServerReadyResponse:
        """Report that the server is ready.

        The port opens only after every model is loaded, checked and warmed up.
        """
        return pb.ServerReadyResponse(ready=True)

    async def model_ready(self, request: pb.ModelReadyRequest, _context: Context) -> pb.ModelReadyResponse:
        """Return the readiness of a model, or of one version of it."""
        try:
            self._repository.resolve(request.name, request.version or None)
        except NotFound:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def server_metadata(self, _request: pb.ServerMetadataRequest, _context: Context) -> pb.ServerMetadataResponse:
        """Return the server's name, version and protocol extensions."""
        return _message(self._descriptions.server(), pb.ServerMetadataResponse)

    async def model_metadata(self, request: pb.ModelMetadataRequest, _context: Context) -> pb.ModelMetadataResponse:
        """Return a model's versions, platform, inputs and outputs."""
        return _message(self._descriptions.model(request.name, request.version or None), pb.ModelMetadataResponse)

    async def model_config(self, request: pb.ModelConfigRequest, _context: Context) -> pb.ModelConfigResponse:
        """Return the configuration of a model version in Triton's format."""
        configuration = self._descriptions.configuration(request.name, request.version or None)
        return _message({"config": configuration}, pb.ModelConfigResponse)

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        """Return the statistics of every model, of one model, or of one version."""
        statistics = self._descriptions.statistics(request.name or None, request.version or None)
        return _message(statistics, pb.ModelStatisticsResponse)

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, _context: Context
    ) -> pb.RepositoryIndexResponse:
        """Return every version in the repository with its state.

        A version that is not ready has a reason.
        """
        return _message({"models": self._descriptions.index(ready=request.ready)}, pb.RepositoryIndexResponse)

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model from its folder. Requires the token.

        If loading fails, the old versions stay in service.
        """
        self._control.check_token(context.header(b"authorization"))
        await self._control.load(request.model_name, request.parameters)
        return pb.RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Stop serving a model. Requires the token."""
        self._control.check_token(context.header(b"authorization"))
        await self._control.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def model_stream_infer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Yield one response per request, in order; a failed request does not end the stream."""
        # The stream's headers are already sent, so no response may add any.
        request_context = Context((), context.timeout_s)
        async for request in requests:
            response = pb.ModelStreamInferResponse()
            try:
                message = await self._infer(message_codec.PROTO, request.SerializeToString(), request_context)
                response.infer_response.MergeFromString(message)
            except RequestError as error:
                response.error_message = error.message
                response.infer_response.id = request.id
            response.infer_response.parameters[_FINAL].bool_param = True
            yield response


def _message(description: Description, kind: type[_Response]) -> _Response:
    """Convert a description to the message with the same field names."""
    return json_format.ParseDict(description, kind())
