"""Query the server's reflection by grpcio-reflection's descriptor database; print the results as JSON.

Run in a separate environment by tests/clients/test_grpcio.py: reflection_calls.py HOST:PORT < record.json
"""

import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import ExtensionRequest, ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

SERVICE = "lifeboat.titanic.v1.TitanicService"


def missing(find):
    """Return True if a search finds nothing."""
    try:
        find()
    except KeyError:
        return True
    return False


def refused(channel, **question):
    """Return the error code for a question that the database doesn't forward unchanged."""
    (answer,) = ServerReflectionStub(channel).ServerReflectionInfo(iter([ServerReflectionRequest(**question)]))
    return answer.error_response.error_code


def predicted(channel, pool, record):
    """Call a method known only by reflection; return the response for a record."""
    method = pool.FindServiceByName(SERVICE).methods_by_name["Predict"]
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = channel.unary_unary(
        f"/{SERVICE}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    return MessageToDict(call(request(**record)))


def main():
    """Print the results."""
    record = json.load(sys.stdin)
    with grpc.insecure_channel(sys.argv[1]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        services = {name: pool.FindServiceByName(name) for name in database.get_services()}
        said = {
            "services": {
                name: [each.name for each in pool.FindServiceByName(name).methods] for name in sorted(services)
            },
            "file": database.FindFileContainingSymbol(SERVICE).name,
            "by name": database.FindFileByName("lifeboat/titanic/v1/service.proto").name,
            "of a message": database.FindFileContainingSymbol("lifeboat.titanic.v1.PredictRequest").name,
            "of a nested message": database.FindFileContainingSymbol(
                "inference.ModelInferRequest.InferInputTensor"
            ).name,
            "of an enum": database.FindFileContainingSymbol("inference.DataType").name,
            "of a detail": database.FindFileContainingSymbol("google.rpc.BadRequest").name,
            "extensions": list(database.FindAllExtensionNumbers("lifeboat.titanic.v1.PredictRequest")),
            "missing symbol": missing(lambda: database.FindFileContainingSymbol("lifeboat.Other")),
            "missing file": missing(lambda: database.FindFileByName("other.proto")),
            "missing extension": refused(
                channel,
                file_containing_extension=ExtensionRequest(containing_type="inference.ModelConfig", extension_number=1),
            ),
            "extensions of what there isn't": refused(channel, all_extension_numbers_of_type="lifeboat.Other"),
            "predicted": predicted(channel, pool, record),
        }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
