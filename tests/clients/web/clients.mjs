// Public clients, each set up as its own documentation says, behind one shape:
//   predict(record), predictBatch(records), predictStream(records), load(model) -> answers as JSON, or a failure.
// watch(), where the client hands messages on as they come: the official one needs a browser for that.

import { create, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import grpcWeb from "grpc-web";
import XMLHttpRequest from "xmlhttprequest-ssl";
import { BadRequestSchema } from "./gen/error_details_pb.js";
import { Health, HealthCheckResponseSchema } from "./gen/health_pb.js";
import { GRPCInferenceService, RepositoryModelLoadRequestSchema } from "./gen/inference_pb.js";
import * as service from "./gen/service_pb.js";
import { StatusSchema } from "./gen/status_pb.js";

const [typed] = service.file_service.services;
const { PredictRequestSchema, PredictBatchRequestSchema } = service;

/** What was sent last: its HTTP method and headers, as far as the client shows them. */
export const sent = { method: "", headers: {} };

const json = (schema, message) => toJson(schema, message, { alwaysEmitImplicit: true });
const one = (record) => fromJson(PredictRequestSchema, record);
const several = (records) => fromJson(PredictBatchRequestSchema, { records });

/** A failure as every client can say it: the code's name, the message, the fields of its BadRequest. */
const failure = (code, message, details) => {
  const fields = details.flatMap(({ fieldViolations }) => fieldViolations.map(({ field }) => field));
  const name = Code[code].replace(/(?<!^)[A-Z]/g, "_$&").toLowerCase();
  return { failure: { code: name, message, fields } };
};

/** connect-web and connect-node: one client for every transport of theirs. */
function connect(transport) {
  const client = createClient(typed, transport);
  const told = async (answer) => {
    try {
      return await answer();
    } catch (thrown) {
      const error = ConnectError.from(thrown);
      return failure(error.code, error.rawMessage, error.findDetails(BadRequestSchema));
    }
  };
  const { predict, predictBatch, predictStream } = typed.method;
  return {
    predict: (record, options) => told(async () => json(predict.output, await client.predict(one(record), options))),
    predictBatch: (records, options) =>
      told(async () => json(predictBatch.output, await client.predictBatch(several(records), options))),
    predictStream: (records, options) =>
      told(async () => {
        const answers = [];
        for await (const answer of client.predictStream(several(records), options)) {
          answers.push(json(predictStream.output, answer));
        }
        return answers;
      }),
    load: (modelName) =>
      told(async () => {
        await createClient(GRPCInferenceService, transport).repositoryModelLoad({ modelName });
        return {};
      }),
    /** The first message of a stream that doesn't end by itself. */
    watch: () =>
      told(async () => {
        for await (const answer of createClient(Health, transport).watch({})) {
          return json(HealthCheckResponseSchema, answer);
        }
      }),
  };
}

/** The official runtime of grpc-web, which its generated code calls as this does. */
function official(baseUrl, format) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const method = ({ parent, name, methodKind, input, output }) =>
    new grpcWeb.MethodDescriptor(
      `/${parent.typeName}/${name}`,
      methodKind === "unary" ? grpcWeb.MethodType.UNARY : grpcWeb.MethodType.SERVER_STREAMING,
      Object,
      Object,
      (message) => toBinary(input, message),
      (bytes) => fromBinary(output, bytes),
    );
  const told = (error) => {
    if (!(error instanceof grpcWeb.RpcError)) throw error;
    const { code, message, metadata } = error;
    const bytes = metadata?.["grpc-status-details-bin"];
    const details = bytes ? fromBinary(StatusSchema, Buffer.from(bytes, "base64")).details : [];
    return failure(code, message, details.map((any) => anyUnpack(any, BadRequestSchema)).filter(Boolean));
  };
  const metadata = ({ timeoutMs, headers } = {}) => ({
    ...headers,
    ...(timeoutMs && { deadline: String(Date.now() + timeoutMs) }),
  });
  const unary = async (described, request, options) => {
    try {
      const path = `${baseUrl}/${described.parent.typeName}/${described.name}`;
      return json(described.output, await client.unaryCall(path, request, metadata(options), method(described)));
    } catch (error) {
      return told(error);
    }
  };
  const stream = (described, request, options) =>
    new Promise((resolve) => {
      const answers = [];
      const path = `${baseUrl}/${described.parent.typeName}/${described.name}`;
      const call = client.serverStreaming(path, request, metadata(options), method(described));
      call.on("data", (answer) => answers.push(json(described.output, answer)));
      call.on("error", (error) => resolve(told(error)));
      call.on("end", () => resolve(answers));
    });
  const { predict, predictBatch, predictStream } = typed.method;
  return {
    predict: (record, options) => unary(predict, one(record), options),
    predictBatch: (records, options) => unary(predictBatch, several(records), options),
    predictStream: (records, options) => stream(predictStream, several(records), options),
    load: (modelName) =>
      unary(GRPCInferenceService.method.repositoryModelLoad, create(RepositoryModelLoadRequestSchema, { modelName })),
  };
}

/** Browsers have this one; here a package brings it, which gives an answer when it is whole. It notes what is sent. */
globalThis.XMLHttpRequest = class extends XMLHttpRequest {
  constructor() {
    super();
    const { open, setRequestHeader } = this;
    this.open = (method, ...rest) => {
      Object.assign(sent, { method, headers: {} });
      open.call(this, method, ...rest);
    };
    this.setRequestHeader = (name, value) => {
      sent.headers[name.toLowerCase()] = value;
      return setRequestHeader.call(this, name, value);
    };
  }
};

const noting = (url, init) => {
  Object.assign(sent, { method: init.method, headers: Object.fromEntries(init.headers) });
  return fetch(url, init);
};
const interceptors = [
  (next) => (request) => {
    Object.assign(sent, { method: request.requestMethod, headers: Object.fromEntries(request.header) });
    return next(request);
  },
];
const http1 = { interceptors, httpVersion: "1.1" };
const http2 = { interceptors, httpVersion: "2" };
const gzip = { sendCompression: node.compressionGzip, compressMinBytes: 0 };

const MAKE = {
  "connect-web": (o) => connect(web.createConnectTransport({ ...o, fetch: noting, useBinaryFormat: true })),
  "connect-web json": (o) => connect(web.createConnectTransport({ ...o, fetch: noting })),
  "connect-web get": (o) =>
    connect(web.createConnectTransport({ ...o, fetch: noting, useBinaryFormat: true, useHttpGet: true })),
  "connect-web get json": (o) => connect(web.createConnectTransport({ ...o, fetch: noting, useHttpGet: true })),
  "connect-web grpc-web": (o) => connect(web.createGrpcWebTransport({ ...o, fetch: noting })),
  "connect-web grpc-web json": (o) =>
    connect(web.createGrpcWebTransport({ ...o, fetch: noting, useBinaryFormat: false })),
  "connect-node": (o) => connect(node.createConnectTransport({ ...o, ...http1 })),
  "connect-node json": (o) => connect(node.createConnectTransport({ ...o, ...http1, useBinaryFormat: false })),
  "connect-node gzip": (o) => connect(node.createConnectTransport({ ...o, ...http1, ...gzip })),
  "connect-node grpc-web": (o) => connect(node.createGrpcWebTransport({ ...o, ...http1 })),
  "connect-node grpc-web gzip": (o) => connect(node.createGrpcWebTransport({ ...o, ...http1, ...gzip })),
  "connect-node http2": (o) => connect(node.createConnectTransport({ ...o, ...http2 })),
  "connect-node grpc": (o) => connect(node.createGrpcTransport({ ...o, ...http2 })),
  "connect-node grpc json": (o) => connect(node.createGrpcTransport({ ...o, ...http2, useBinaryFormat: false })),
  "connect-node grpc gzip": (o) => connect(node.createGrpcTransport({ ...o, ...http2, ...gzip })),
  "grpc-web binary": ({ baseUrl }) => official(baseUrl, "binary"),
  "grpc-web text": ({ baseUrl }) => official(baseUrl, "text"),
};

/** Returns the client of this name, for the server at `baseUrl`. */
export const make = (name, baseUrl) => MAKE[name]({ baseUrl });
