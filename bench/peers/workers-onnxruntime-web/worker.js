/** onnxruntime-web inside the Workers runtime: one call, one run, on the isolate's one thread. */
import model from "./model.onnx";
import wasm from "./onnxruntime.wasm";
import * as ort from "./onnxruntime-web.js";

// The runtime compiles no bytes: hand onnxruntime-web, which asks for that, the module compiled at start.
const instantiate = WebAssembly.instantiate;
WebAssembly.instantiate = async (_, imports) => ({ module: wasm, instance: await instantiate(wasm, imports) });
ort.env.wasm.wasmBinary = new ArrayBuffer(8);
ort.env.wasm.numThreads = 1;
ort.env.wasm.proxy = false;
const session = await ort.InferenceSession.create(new Uint8Array(model), {
  executionProviders: ["wasm"],
  executionMode: "sequential",
});

const shape = [1, 1];
const int64 = (value) => new ort.Tensor("int64", BigInt64Array.of(BigInt(value)), shape);
const float32 = (value) => new ort.Tensor("float32", Float32Array.of(value ?? Number.NaN), shape);
const string = (value) => new ort.Tensor("string", [value ?? ""], shape);

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

export default {
  async fetch(request) {
    if (request.method !== "POST" || new URL(request.url).pathname !== "/predict") {
      return Response.json({ error: "not found" }, { status: 404 });
    }
    try {
      return Response.json(await predict(await request.json()));
    } catch (error) {
      return Response.json({ error: error.message }, { status: 400 });
    }
  },
};
