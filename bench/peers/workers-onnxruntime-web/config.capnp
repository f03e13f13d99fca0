# One Worker on one socket; its address and the folder of model.onnx come from the command line.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "titanic", worker = .titanic)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "titanic")],
);

const titanic :Workerd.Worker = (
  compatibilityDate = "2026-11-17",
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "onnxruntime-web.js", esModule = embed "node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs"),
    (name = "onnxruntime.wasm", wasm = embed "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"),
    (name = "model.onnx", data = embed "/model.onnx"),
  ],
);
