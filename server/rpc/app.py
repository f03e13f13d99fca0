"""ASGI application of the RPC services: connects handlers, router and fast path."""

import logging
from collections.abc import Iterator

from starlette.types import Receive, Scope, Send

from server.http.handler import FastPathHandler
from server.http.lifecycle import Draining
from server.inference.metadata import MetadataService
from server.inference.runner import Runners
from server.models.control import ModelControl
from server.models.repository import Repository, Versions
from server.models.session import Model
from server.rpc.inference_call import RpcFastPathHandler
from server.rpc.method import methods
from server.rpc.proto import error_details_pb2, status_pb2
from server.rpc.protocols.json_messages import JsonMessages
from server.rpc.router import Router
from server.rpc.services import health, open_inference, reflection
from server.rpc.services.file_descriptors import Files, proto_of
from server.rpc.services.health import HealthHandlers
from server.rpc.services.open_inference import InferenceHandlers, ModelInfer
from server.rpc.services.reflection import ReflectionHandlers
from server.rpc.services.typed import TypedService
from server.settings import Settings

_log = logging.getLogger("lifeboat.rpc")


class Services:
    """ASGI application for all RPC services.

    The typed services match the models that are served now.
    """

    def __init__(  # noqa: PLR0913, PLR0917 # connects every service
        self,
        repository: Repository,
        runners: Runners,
        settings: Settings,
        descriptions: MetadataService,
        control: ModelControl,
        draining: Draining,
    ) -> None:
        """Create the services for the models of `repository`."""
        self._repository = repository
        self._runners = runners
        self._settings = settings
        self._json = JsonMessages(settings.max_protobuf_json_bytes)
        self._infer = ModelInfer(repository, runners, settings, self._json)
        self._static = [
            self._infer.method(),
            *methods(
                open_inference.SERVICE, InferenceHandlers(repository, descriptions, control, self._infer), self._json
            ),
            *methods(health.SERVICE, HealthHandlers(self._names, draining), self._json),
        ]
        for service, messages in reflection.SERVICES:
            self._static += methods(service, ReflectionHandlers(messages, self._current_files), self._json)
        details = (error_details_pb2.DESCRIPTOR, status_pb2.DESCRIPTOR)
        descriptors = [
            *details,
            open_inference.SERVICE.file,
            health.SERVICE.file,
            *(service.file for service, _ in reflection.SERVICES),
        ]
        self._static_files = proto_of(descriptors)
        self.refresh()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one RPC call."""
        await self._router(scope, receive, send)

    def refresh(self) -> None:
        """Rebuild the typed services for the models that are served now."""
        self._infer.clear_caches()
        self._typed = dict[str, TypedService]()
        for model in self._typed_models():
            service = TypedService(self._runners[model], self._settings, self._json, self._runners.executor)
            registered = self._typed.setdefault(service.file.package, service)
            if registered is not service:
                _log.error(
                    "model %s has no typed service: the name %s belongs to another model",
                    model.name,
                    service.file.package,
                )
        self._files = Files([*self._static_files, *(service.file for service in self._typed.values())])
        calls = [call for service in self._typed.values() for call in service.calls()]
        typed = [*(call.method() for call in calls), *(each.stream() for each in self._typed.values())]
        self._calls = [*calls, self._infer]
        settings = self._settings
        methods = [*self._static, *typed]
        self._router = Router(methods, settings.max_body_bytes, settings.body_timeout_s, self._runners.executor)

    def fast_path_handlers(self) -> dict[str, FastPathHandler]:
        """Return the fast path handler for each URL path that runs a model."""
        return {call.path: RpcFastPathHandler(call, self, self._settings.max_body_bytes) for call in self._calls}

    def _current_files(self) -> Files:
        return self._files

    def _names(self) -> list[str]:
        return self._files.services

    def _typed_models(self) -> Iterator[Model]:
        for versions in self._repository.models.values():
            yield from typed_models(versions)


def typed_models(versions: Versions) -> list[Model]:
    """Return one model version per API version: the default one, else the highest."""
    by_api_version: dict[int, Model] = {}
    for number in sorted(versions.models):
        model = versions.models[number]
        by_api_version[model.manifest.api_version] = model
    by_api_version[versions.default.manifest.api_version] = versions.default
    return [*by_api_version.values()]
