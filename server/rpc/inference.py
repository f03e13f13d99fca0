"""inference.GRPCInferenceService: the Open Inference Protocol and Triton's extensions of it, as calls."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from server.control import ModelControl
from server.descriptions import Description, Descriptions
from server.errors import NotFound, RequestError
from server.model import Model
from server.repository import Repository
from server.rpc import codecs
from server.rpc.calls import PredictionCall
from server.rpc.infer_codec import RAW_INPUTS, InferDecoder, InferEncoder, Layout, Place
from server.rpc.methods import Context
from server.rpc.proto import inference_pb2 as pb
from server.rpc.wire_format import split
from server.runner import Encode, Runner, Runners, Work
from server.settings import Settings

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_MAX_PLANS: Final = 64
_PLAN_BYTES: Final = 4096
"""Largest request, without its contents, that is kept; the bound on what the kept ones take is the product."""
_Response = TypeVar("_Response", bound=Message)


class _Inferrer:
    """One model version behind the protocol's infer calls."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        self.runner = runner
        self.decoder = InferDecoder(runner.model.signature, settings.max_rows, settings.max_string_bytes)
        self.encoder = InferEncoder(runner.model.manifest)


class _Plan(NamedTuple):
    """What was found out about one request with raw contents, for all that differ in those contents alone."""

    inferrer: _Inferrer
    layout: Layout
    encode: Encode
    timeout_s: float | None


class _Known(NamedTuple):
    """What was found out while the same models were served.

    Who adds to it, which may be a thread, holds it meanwhile: what it finds out of a model that comes to be served no
    longer is then nobody's to come upon.
    """

    inferrers: dict[Model, _Inferrer]
    plans: dict[bytes, _Plan]


class ModelInfer(PredictionCall):
    """Tensors in, tensors out, for the model that the message names.

    Callers repeat themselves: all but the raw contents of a request is mostly what it was the last time. So that part
    is kept, with what came of reading it, and where it is the same bytes again only the contents are read.
    """

    path = f"/{SERVICE.full_name}/ModelInfer"

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Answer from the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._known = _Known({}, {})

    def forget(self) -> None:
        """Keep nothing of what was found out so far, nor what is being found out now: other models are served."""
        self._known = _Known({}, {})

    def decode(self, codec: str, message: bytes) -> Work:
        """Return the columns of the request's tensors, and what answers with the outputs it asks for."""
        apart = split(message, RAW_INPUTS) if codec == codecs.PROTO else None
        if apart is not None and apart[1]:
            return self._raw(message, *apart)
        request = codecs.decode(codec, pb.ModelInferRequest, message)
        raw = request.raw_input_contents
        inferrer = self._inferrer(self._known, request)
        try:
            layout = inferrer.decoder.layout(request, len(raw))
            if raw:
                places = [(sum(map(len, raw[:place])), len(each)) for place, each in enumerate(raw)]
                columns = inferrer.decoder.raw(layout, b"".join(raw), places)
            else:
                columns = inferrer.decoder.typed(layout, request)
            inference = layout.inference(columns)
            encode = inferrer.encoder.encoder(codec, inference, is_raw=bool(raw))
        except RequestError as error:
            inferrer.runner.counters.fail(error)
            raise
        return Work(inferrer.runner, columns, layout.rows, encode, inference.timeout_s)

    def fail(self, error: Exception) -> None:
        """Do nothing: `decode` counts, as it alone knows for which model."""

    def _raw(self, message: bytes, rest: bytes, places: Sequence[Place]) -> Work:
        """Return the work of a request whose raw contents stand at `places` of `message`."""
        known = self._known
        plan = known.plans.get(rest)
        if plan is None or len(plan.layout.features) != len(places):
            plan = self._plan(known, rest, len(places))
        try:
            columns = plan.inferrer.decoder.raw(plan.layout, message, places)
        except RequestError as error:
            plan.inferrer.runner.counters.fail(error)
            raise
        return Work(plan.inferrer.runner, columns, plan.layout.rows, plan.encode, plan.timeout_s)

    def _plan(self, known: _Known, rest: bytes, raw: int) -> _Plan:
        request = codecs.decode(codecs.PROTO, pb.ModelInferRequest, rest)
        inferrer = self._inferrer(known, request)
        try:
            layout = inferrer.decoder.layout(request, raw)
            inference = layout.inference(())
            encode = inferrer.encoder.encoder(codecs.PROTO, inference, is_raw=True)
        except RequestError as error:
            inferrer.runner.counters.fail(error)
            raise
        plan = _Plan(inferrer, layout, encode, inference.timeout_s)
        if len(rest) <= _PLAN_BYTES:
            if len(known.plans) >= _MAX_PLANS:
                known.plans.clear()
            known.plans[rest] = plan
        return plan

    def _inferrer(self, known: _Known, request: pb.ModelInferRequest) -> _Inferrer:
        model = self._repository.resolve(request.model_name, request.model_version or None)
        if model not in known.inferrers:
            known.inferrers[model] = _Inferrer(self._runners[model], self._settings)
        return known.inferrers[model]


class InferenceHandlers:
    """The protocol's other calls, and the stream of infer calls."""

    def __init__(
        self, repository: Repository, descriptions: Descriptions, control: ModelControl, infer: ModelInfer
    ) -> None:
        """Tell by `descriptions`, change by `control`, and answer streams by `infer`."""
        self._repository = repository
        self._descriptions = descriptions
        self._control = control
        self._infer = infer

    async def server_live(self, _request: pb.ServerLiveRequest, _context: Context) -> pb.ServerLiveResponse:
        """Answer that the server lives."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _request: pb.ServerReadyRequest, _context: Context) -> pb.ServerReadyResponse:
        """Answer that it is ready: the port opens only when every model is loaded, checked and warm."""
        return pb.ServerReadyResponse(ready=True)

    async def model_ready(self, request: pb.ModelReadyRequest, _context: Context) -> pb.ModelReadyResponse:
        """Answer whether a model, or one version of it, is served."""
        try:
            self._repository.resolve(request.name, request.version or None)
        except NotFound:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def server_metadata(self, _request: pb.ServerMetadataRequest, _context: Context) -> pb.ServerMetadataResponse:
        """Answer the server's name, version and the protocol extensions it has."""
        return _message(self._descriptions.server(), pb.ServerMetadataResponse)

    async def model_metadata(self, request: pb.ModelMetadataRequest, _context: Context) -> pb.ModelMetadataResponse:
        """Answer a model's versions, platform, inputs and outputs."""
        return _message(self._descriptions.model(request.name, request.version or None), pb.ModelMetadataResponse)

    async def model_config(self, request: pb.ModelConfigRequest, _context: Context) -> pb.ModelConfigResponse:
        """Answer a version's configuration as Triton would have it."""
        configuration = self._descriptions.configuration(request.name, request.version or None)
        return _message({"config": configuration}, pb.ModelConfigResponse)

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest, _context: Context
    ) -> pb.ModelStatisticsResponse:
        """Answer the statistics of every model, of one, or of one version of it."""
        statistics = self._descriptions.statistics(request.name or None, request.version or None)
        return _message(statistics, pb.ModelStatisticsResponse)

    async def repository_index(
        self, request: pb.RepositoryIndexRequest, _context: Context
    ) -> pb.RepositoryIndexResponse:
        """Answer every version there is, its state, and why it isn't ready."""
        return _message({"models": self._descriptions.index(ready=request.ready)}, pb.RepositoryIndexResponse)

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Read a model from its folder, for who has the token; where that fails the old versions stay."""
        self._control.check_token(context.header(b"authorization"))
        await self._control.load(request.model_name, request.parameters)
        return pb.RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Serve a model no longer, for who has the token."""
        self._control.check_token(context.header(b"authorization"))
        await self._control.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def model_stream_infer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer request after request, in their order; one that fails is told so and ends nothing."""
        alone = Context((), context.timeout_s)  # none of them answers with headers: the stream's have gone
        async for request in requests:
            response = pb.ModelStreamInferResponse()
            try:
                answer = await self._infer(codecs.PROTO, request.SerializeToString(), alone)
                response.infer_response.MergeFromString(answer)
            except RequestError as error:
                response.error_message = error.message
                response.infer_response.id = request.id
            yield response


def _message(description: Description, kind: type[_Response]) -> _Response:
    """Return a description as the message of the same names."""
    return json_format.ParseDict(description, kind())
