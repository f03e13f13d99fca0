import { beforeEach, describe, expect, it, vi } from "vitest";
import { fakeEdge, sendRequest, withFakeTime } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });
const TRACEPARENT = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
const PREDICT_PATH = "/api/predict?sex=female&age=29";

let errorLog: ReturnType<typeof vi.spyOn>;
let infoLog: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  errorLog = vi.spyOn(console, "error").mockReturnValue();
  infoLog = vi.spyOn(console, "log").mockReturnValue();
});

describe("the request log", () => {
  it("has no line for a successful request by default", async () => {
    await sendRequest(fakeEdge(ok), PREDICT_PATH);
    expect([infoLog.mock.calls, errorLog.mock.calls]).toEqual([[], []]);
  });

  it("has one line of JSON for each request with LOG_REQUESTS=all, without the record", async () => {
    const headers = { "x-request-id": "abc-7", traceparent: TRACEPARENT };
    await sendRequest(fakeEdge(ok, { LOG_REQUESTS: "all" }), PREDICT_PATH, { headers });
    const line = String(infoLog.mock.calls[0]?.[0]);
    expect(JSON.parse(line)).toMatchObject({
      id: "abc-7",
      method: "GET",
      path: "/api/predict",
      status: 200,
      instance: "inference-0",
      attempts: 1,
      traceparent: TRACEPARENT,
    });
    expect(line).not.toContain("female");
  });

  it("has one line for each failure, and one with the platform's error text", async () => {
    await withFakeTime(() =>
      sendRequest(
        fakeEdge(() => new Response("boom", { status: 500 })),
        PREDICT_PATH,
      ),
    );
    const lines = errorLog.mock.calls.map((words: unknown[]) => String(words));
    expect(lines.some((text: string) => /inference-0 gone: boom/.test(text))).toBe(true);
    expect(JSON.parse(lines.at(-1) as string)).toMatchObject({ status: 503, path: "/api/predict" });
  });

  it("has one line for a gRPC-Web failure with status 200", async () => {
    const failed = () => new Response(null, { headers: { "grpc-status": "13" } });
    await sendRequest(fakeEdge(failed), "/a.b/C", { method: "POST", body: "" });
    expect(JSON.parse(String(errorLog.mock.calls.at(-1)))).toMatchObject({ status: 200, grpc_status: "13" });
  });
});

it("writes one data point for each request if Analytics Engine is configured", async () => {
  const writeDataPoint = vi.fn();
  await sendRequest(fakeEdge(ok, { ANALYTICS: { writeDataPoint } }), PREDICT_PATH);
  const [point] = writeDataPoint.mock.calls[0] as [AnalyticsEngineDataPoint];
  expect([point.indexes, point.blobs?.[0], point.doubles?.[1]]).toEqual([["anyone"], "inference-0", 200]);
});
