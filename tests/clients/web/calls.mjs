// Runs one scenario with each of some clients; prints what each got:  node calls.mjs URL SCENARIO CLIENT... < input

import { text } from "node:stream/consumers";
import { make, sent } from "./clients.mjs";

const WAITS_MS = 30_000;

const SCENARIOS = {
  /** Every record alone, all together, and as a stream; and the headers of the last call of each kind. */
  async answers(client, records) {
    const options = { timeoutMs: WAITS_MS };
    const predict = [];
    for (const record of records) predict.push(await client.predict(record, options));
    const unary = structuredClone(sent);
    const predictBatch = await client.predictBatch(records, options);
    const predictStream = await client.predictStream(records, options);
    return { predict, predictBatch, predictStream, sent: { unary, stream: structuredClone(sent) } };
  },
  /** Records of which one is wrong. */
  async refused(client, records) {
    return {
      predict: await client.predict(records.at(-1)),
      predictBatch: await client.predictBatch(records),
      predictStream: await client.predictStream(records),
    };
  },
  /** Calls whose deadline only the server knows: the client itself would wait. */
  async late(client, { record, deadlines }, name) {
    const headers = { [deadlines[name]]: deadlines[name] === "grpc-timeout" ? "1m" : "1" };
    const calls = [
      client.predict(record, { headers }),
      client.predictBatch([record], { headers }),
      client.predictStream([record], { headers }),
    ];
    const [predict, predictBatch, predictStream] = await Promise.all(calls);
    return { predict, predictBatch, predictStream };
  },
  load: (client, model) => client.load(model),
  watch: (client) => client.watch(),
};

const [url, scenario, ...names] = process.argv.slice(2);
const input = JSON.parse(await text(process.stdin));
const told = {};
const call = async (name) => {
  told[name] = await SCENARIOS[scenario](make(name, url), input, name);
};
if (scenario === "late") {
  await make(names[0], url).predict(input.record); // the wait that a queue has begun is over: the next one is whole
  await Promise.all(names.map(call));
} else {
  for (const name of names) await call(name);
}
process.stdout.write(JSON.stringify(told), () => process.exit(0)); // connections that are kept would hold it
