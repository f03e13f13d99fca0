"""gRPC reflection service: lists services and the files that declare them.

Clients without the .proto files use it. The two versions of the protocol differ only in their package name; older
clients use v1alpha.
"""

from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any, Final

from server.errors import NotFound, RequestError, Unimplemented
from server.rpc.method import Context
from server.rpc.proto import reflection_alpha_pb2, reflection_pb2
from server.rpc.protocols.status import rpc_error
from server.rpc.services.file_descriptors import Files

SERVICES: Final = tuple(
    (module.DESCRIPTOR.services_by_name["ServerReflection"], module)
    for module in (reflection_pb2, reflection_alpha_pb2)
)
"""The service of each version, and the module of its messages."""


class ReflectionHandlers:
    """Handlers of the reflection service; `files` returns the current files."""

    def __init__(self, messages: ModuleType, files: Callable[[], Files]) -> None:
        """Use the messages of one version of the protocol."""
        self._messages: Any = messages
        self._files = files

    async def server_reflection_info(self, requests: AsyncIterator[Any], _context: Context) -> AsyncIterator[Any]:
        """Yield one response per request; a failed lookup does not end the stream."""
        async for request in requests:
            response = self._messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
            try:
                self._respond(request, response)
            except RequestError as error:
                lookup_error = rpc_error(error)
                response.error_response.error_code = int(lookup_error.code)
                response.error_response.error_message = lookup_error.message
            yield response

    def _respond(self, request: Any, response: Any) -> None:  # noqa: ANN401 # types of either version
        files = self._files()
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in files.services:
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            response.file_descriptor_response.file_descriptor_proto.extend(
                files.serialized_with_imports(request.file_by_filename)
            )
        elif kind == "file_containing_symbol":
            name = files.file_declaring(request.file_containing_symbol)
            response.file_descriptor_response.file_descriptor_proto.extend(files.serialized_with_imports(name))
        elif kind == "all_extension_numbers_of_type":
            files.file_declaring(request.all_extension_numbers_of_type)
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        elif kind == "file_containing_extension":
            raise NotFound("there are no extensions")
        else:
            raise Unimplemented("expected one of the questions of the reflection protocol")
