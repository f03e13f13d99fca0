/** Node's own HTTP server with onnxruntime-node: one call, one run. */
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { InferenceSession, Tensor } from "onnxruntime-node";

const { values } = parseArgs({ options: { port: { type: "string" }, model: { type: "string" } } });
const session = await InferenceSession.create(values.model, {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  executionMode: "sequential",
  extra: { session: { intra_op: { allow_spinning: "0" } } },
});
const shape = [1, 1];
const int64 = (value) => new Tensor("int64", BigInt64Array.of(BigInt(value)), shape);
const float32 = (value) => new Tensor("float32", Float32Array.of(value ?? Number.NaN), shape);
const string = (value) => new Tensor("string", [value ?? ""], shape);

/** Takes one passenger's record, returns its label and probability of survival. */
async function predict(passenger) {
  const { label, probabilities } = await session.run({
    pclass: int64(passenger.pclass),
    sex: string(passenger.sex),
    age: float32(passenger.age),
    sibsp: int64(passenger.sibsp),
    parch: int64(passenger.parch),
    fare: float32(passenger.fare),
    embarked: string(passenger.embarked),
  });
  return { label: label.data[0], probability: probabilities.data[1] };
}

/** Takes a status and a value, sends the value as JSON. */
function send(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

const server = createServer((request, response) => {
  if (request.method !== "POST" || request.url !== "/predict") {
    request.resume();
    send(response, 404, { error: "not found" });
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    try {
      send(response, 200, await predict(JSON.parse(Buffer.concat(chunks))));
    } catch (error) {
      send(response, 400, { error: error.message });
    }
  });
});
server.listen(Number(values.port), "127.0.0.1");
process.on("SIGTERM", () => {
  server.close();
  server.closeAllConnections();
});
