"""Every service that is served, and the calls among theirs that go the short way: the only wiring of the RPC layer."""

import logging
from collections.abc import Iterator

from starlette.types import Receive, Scope, Send

from server.control import ModelControl
from server.descriptions import Descriptions
from server.draining import Draining
from server.hot import Prediction
from server.model import Model
from server.repository import Repository, Versions
from server.rpc import health, inference, reflection
from server.rpc.calls import HotCall
from server.rpc.files import Files, proto_of
from server.rpc.health import HealthHandlers
from server.rpc.inference import InferenceHandlers, ModelInfer
from server.rpc.methods import methods
from server.rpc.proto import error_details_pb2, status_pb2
from server.rpc.reflection import ReflectionHandlers
from server.rpc.router import Router
from server.rpc.typed import TypedService
from server.runner import Runners
from server.settings import Settings

_log = logging.getLogger("lifeboat.rpc")


class Services:
    """What answers every call; its typed services are those of what is served now."""

    def __init__(  # noqa: PLR0913, PLR0917 # it is the wiring
        self,
        repository: Repository,
        runners: Runners,
        settings: Settings,
        descriptions: Descriptions,
        control: ModelControl,
        draining: Draining,
    ) -> None:
        """Serve the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._infer = ModelInfer(repository, runners, settings)
        self._static = [
            self._infer.method(),
            *methods(inference.SERVICE, InferenceHandlers(repository, descriptions, control, self._infer)),
            *methods(health.SERVICE, HealthHandlers(self._names, draining)),
        ]
        for service, messages in reflection.SERVICES:
            self._static += methods(service, ReflectionHandlers(messages, self._declared))
        details = (error_details_pb2.DESCRIPTOR, status_pb2.DESCRIPTOR)
        described = [
            *details,
            inference.SERVICE.file,
            health.SERVICE.file,
            *(service.file for service, _ in reflection.SERVICES),
        ]
        self._public = proto_of(described)
        self.refresh()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        await self._router(scope, receive, send)

    def refresh(self) -> None:
        """Let the typed services be those of what is served now."""
        self._infer.forget()
        self._typed = dict[str, TypedService]()
        for model in self._typed_models():
            service = TypedService(self._runners[model], self._settings)
            taken = self._typed.setdefault(service.file.package, service)
            if taken is not service:
                _log.error("model %s has no typed service: %s is another model's", model.name, service.file.package)
        self._files = Files([*self._public, *(service.file for service in self._typed.values())])
        calls = [call for service in self._typed.values() for call in service.calls()]
        typed = [*(call.method() for call in calls), *(each.stream() for each in self._typed.values())]
        self._calls = [*calls, self._infer]
        self._router = Router([*self._static, *typed], self._settings.max_body_bytes)

    def hot(self) -> dict[str, Prediction]:
        """Return what answers, by the short way, a POST to each path that runs a model."""
        return {call.path: HotCall(call, self, self._settings.max_body_bytes) for call in self._calls}

    def _declared(self) -> Files:
        return self._files

    def _names(self) -> list[str]:
        return self._files.services

    def _typed_models(self) -> Iterator[Model]:
        for versions in self._repository.models.values():
            yield from typed_models(versions)


def typed_models(versions: Versions) -> list[Model]:
    """Return the version behind each version of a model's API: the default one, else the highest that has it."""
    by_api: dict[int, Model] = {}
    for number in sorted(versions.models):
        model = versions.models[number]
        by_api[model.manifest.api_version] = model
    by_api[versions.default.manifest.api_version] = versions.default
    return [*by_api.values()]
