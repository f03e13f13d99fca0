"""inference.GRPCInferenceService: the Open Inference Protocol and Triton's extensions of it, as calls."""

from collections.abc import AsyncIterator
from typing import Final, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from server.control import ModelControl
from server.descriptions import Description, Descriptions
from server.errors import NotFound, RequestError
from server.model import Model
from server.repository import Repository
from server.rpc import codecs
from server.rpc.calls import PredictionCall
from server.rpc.infer_codec import InferDecoder, InferEncoder, read
from server.rpc.methods import Context
from server.rpc.proto import inference_pb2 as pb
from server.runner import Runner, Runners, Work
from server.settings import Settings

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
_Response = TypeVar("_Response", bound=Message)


class _Inferrer:
    """One model version behind the protocol's infer calls."""

    def __init__(self, runner: Runner, settings: Settings) -> None:
        self.runner = runner
        self.decoder = InferDecoder(runner.model.signature, settings.max_rows, settings.max_string_bytes)
        self.encoder = InferEncoder(runner.model.manifest)


class ModelInfer(PredictionCall):
    """Tensors in, tensors out, for the model that the message names."""

    path = f"/{SERVICE.full_name}/ModelInfer"

    def __init__(self, repository: Repository, runners: Runners, settings: Settings) -> None:
        """Answer from the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._inferrers: dict[Model, _Inferrer] = {}

    def decode(self, codec: str, message: bytes) -> Work:
        """Return the columns of the request's tensors, and what answers with the outputs it asks for."""
        request, raw = read(codec, message)
        inferrer = self._inferrer(self._repository.resolve(request.model_name, request.model_version or None))
        try:
            inference = inferrer.decoder.decode(request, raw)
            encode = inferrer.encoder.encoder(codec, inference, is_raw=bool(raw))
        except RequestError as error:
            inferrer.runner.counters.fail(error)
            raise
        return Work(inferrer.runner, inference.columns, inference.rows, encode, inference.timeout_s)

    def fail(self, error: Exception) -> None:
        """Do nothing: `decode` counts, as it alone knows for which model."""

    def _inferrer(self, model: Model) -> _Inferrer:
        inferrer = self._inferrers.get(model)
        if inferrer is None:
            served = {each.model for each in self._runners}  # what is served no longer is forgotten
            self._inferrers = {each: made for each, made in self._inferrers.items() if each in served}
            inferrer = self._inferrers[model] = _Inferrer(self._runners[model], self._settings)
        return inferrer


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
        async for request in requests:
            response = pb.ModelStreamInferResponse()
            try:
                answer = await self._infer(codecs.PROTO, request.SerializeToString(), context)
                response.infer_response.MergeFromString(answer)
            except RequestError as error:
                response.error_message = error.message
                response.infer_response.id = request.id
            yield response


def _message(description: Description, kind: type[_Response]) -> _Response:
    """Return a description as the message of the same names."""
    return json_format.ParseDict(description, kind())
