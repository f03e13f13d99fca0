"""grpc.reflection: what there is to call, and the files that declare it, for clients that have no file of their own.

Two versions of the protocol, which differ in their package alone: older clients ask by v1alpha.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from server.errors import NotFound, RequestError, Unimplemented
from server.rpc.methods import Context
from server.rpc.proto import reflection_alpha_pb2, reflection_pb2
from server.rpc.status import told
from server.rpc.typed_file import default_json_name

SERVICES: Final = tuple(
    (module.DESCRIPTOR.services_by_name["ServerReflection"], module)
    for module in (reflection_pb2, reflection_alpha_pb2)
)
"""Each version's service, and the module of its messages."""


class ReflectionHandlers:
    """Answers from the files that `files` gives when it is asked."""

    def __init__(self, messages: ModuleType, files: Callable[[], Sequence[FileDescriptorProto]]) -> None:
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
            names = {f"{file.package}.{service.name}" for file in files for service in file.service}
            for name in sorted(names):
                response.list_services_response.service.add(name=name)
        elif asked == "file_by_filename":
            found = [file for file in files if file.name == request.file_by_filename]
            self._add(response, found, request.file_by_filename, files)
        elif asked == "file_containing_symbol":
            symbol = request.file_containing_symbol
            self._add(response, [file for file in files if symbol in _symbols(file)], symbol, files)
        elif asked == "all_extension_numbers_of_type":
            name = request.all_extension_numbers_of_type
            if not any(name in _symbols(file) for file in files):
                raise NotFound(f"there is no {name[:128]!r}")
            response.all_extension_numbers_response.base_type_name = name
        elif asked == "file_containing_extension":
            raise NotFound("there are no extensions")
        else:
            raise Unimplemented("expected one of the questions of the reflection protocol")

    def _add(
        self,
        response: Any,  # noqa: ANN401
        found: Sequence[FileDescriptorProto],
        what: str,
        files: Sequence[FileDescriptorProto],
    ) -> None:
        """Add the file, and all that it imports."""
        if not found:
            raise NotFound(f"there is no {what[:128]!r}")
        by_name = {file.name: file for file in files}
        wanted = [found[0].name]
        for name in wanted:
            file = by_name[name]
            response.file_descriptor_response.file_descriptor_proto.append(file.SerializeToString())
            wanted.extend(each for each in file.dependency if each not in wanted)


def _symbols(file: FileDescriptorProto) -> set[str]:
    """Return the full names of all that a file declares."""
    names = set()
    for service in file.service:
        full = f"{file.package}.{service.name}"
        names |= {full, *(f"{full}.{method.name}" for method in service.method)}
    for message in file.message_type:
        names |= _within(message, file.package)
    return names | {f"{file.package}.{each.name}" for each in file.enum_type}


def _within(message: DescriptorProto, where: str) -> set[str]:
    full = f"{where}.{message.name}"
    names = {full, *(f"{full}.{field.name}" for field in message.field)}
    names |= {f"{full}.{each.name}" for each in message.enum_type}
    for nested in message.nested_type:
        names |= _within(nested, full)
    return names


def proto_of(described: Iterable[Any]) -> list[FileDescriptorProto]:
    """Return files, and what they import, from the descriptors of generated modules."""
    found: dict[str, FileDescriptorProto] = {}
    for each in described:
        for file in (*each.dependencies, each):
            copied = FileDescriptorProto()
            file.CopyToProto(copied)
            for message in copied.message_type:
                _name_in_json(message)
            found[copied.name] = copied
    return [*found.values()]


def _name_in_json(message: DescriptorProto) -> None:
    """Give the fields their names in JSON, which generated modules leave out."""
    for field in message.field:
        field.json_name = default_json_name(field.name)
    for nested in message.nested_type:
        _name_in_json(nested)
