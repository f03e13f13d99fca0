"""grpc.reflection: what there is to call, and the files that declare it, for clients that have no file of their own.

Two versions of the protocol, which differ in their package alone: older clients ask by v1alpha.
"""

from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any, Final

from server.errors import NotFound, RequestError, Unimplemented
from server.rpc.files import Files
from server.rpc.methods import Context
from server.rpc.proto import reflection_alpha_pb2, reflection_pb2
from server.rpc.status import told

SERVICES: Final = tuple(
    (module.DESCRIPTOR.services_by_name["ServerReflection"], module)
    for module in (reflection_pb2, reflection_alpha_pb2)
)
"""Each version's service, and the module of its messages."""


class ReflectionHandlers:
    """Answers from the files that `files` gives when it is asked."""

    def __init__(self, messages: ModuleType, files: Callable[[], Files]) -> None:
        """Answer with the messages of one version."""
        self._messages: Any = messages
        self._files = files

    async def server_reflection_info(self, requests: AsyncIterator[Any], _context: Context) -> AsyncIterator[Any]:
        """Answer question after question; what there isn't is told in the answer and ends nothing."""
        async for request in requests:
            response = self._messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
            try:
                self._answer(request, response)
            except RequestError as error:
                failed = told(error)
                response.error_response.error_code = int(failed.code)
                response.error_response.error_message = failed.message
            yield response

    def _answer(self, request: Any, response: Any) -> None:  # noqa: ANN401 # of either version's types
        files = self._files()
        asked = request.WhichOneof("message_request")
        if asked == "list_services":
            for name in files.services:
                response.list_services_response.service.add(name=name)
        elif asked == "file_by_filename":
            response.file_descriptor_response.file_descriptor_proto.extend(files.named(request.file_by_filename))
        elif asked == "file_containing_symbol":
            name = files.declaring(request.file_containing_symbol)
            response.file_descriptor_response.file_descriptor_proto.extend(files.named(name))
        elif asked == "all_extension_numbers_of_type":
            files.declaring(request.all_extension_numbers_of_type)
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        elif asked == "file_containing_extension":
            raise NotFound("there are no extensions")
        else:
            raise Unimplemented("expected one of the questions of the reflection protocol")
