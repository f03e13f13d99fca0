import { describe, expect, it } from "vitest";
import { fakeEdge, sendRequest } from "./fake_edge";

const ok = () => Response.json({ label: "survived" });

describe("CORS", () => {
  const PREFLIGHT = {
    method: "OPTIONS",
    headers: { origin: "https://a.example", "access-control-request-method": "POST" },
  };

  it("allows no origin by default", async () => {
    const edge = fakeEdge(ok);
    const response = await sendRequest(edge, "/api/models", { headers: { origin: "https://a.example" } });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    expect((await sendRequest(edge, "/api/predict", PREFLIGHT)).status).toBe(405);
  });

  it("responds to a preflight of an allowed origin without a container", async () => {
    const edge = fakeEdge(ok, { CORS_ORIGINS: "https://a.example, https://b.example" });
    const response = await sendRequest(edge, "/lifeboat.titanic.v1.TitanicService/Predict", PREFLIGHT);
    expect([response.status, edge.received]).toEqual([204, []]);
    expect(response.headers.get("access-control-allow-origin")).toBe("https://a.example");
    expect(response.headers.get("vary")).toContain("Origin");
    const allowed = (response.headers.get("access-control-allow-headers") ?? "").split(",");
    for (const name of [
      "content-type",
      "connect-protocol-version",
      "connect-timeout-ms",
      "x-grpc-web",
      "grpc-timeout",
    ]) {
      expect(allowed).toContain(name);
    }
  });

  it("exposes the RPC status headers, also of errors", async () => {
    const edge = fakeEdge(ok, { CORS_ORIGINS: "*" });
    for (const path of ["/api/models", "/nothing"]) {
      const response = await sendRequest(edge, path, { headers: { origin: "https://c.example" } });
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      const exposed = (response.headers.get("access-control-expose-headers") ?? "").split(",");
      for (const name of ["grpc-status", "grpc-message", "retry-after", "x-request-id"])
        expect(exposed).toContain(name);
    }
  });

  it("does not allow an origin that is not configured", async () => {
    const edge = fakeEdge(ok, { CORS_ORIGINS: "https://a.example" });
    const response = await sendRequest(edge, "/api/models", { headers: { origin: "https://evil.example" } });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
  });
});
