/**
 * Durable Object that starts, calls and stops one container instance.
 * @module
 */
import { Container } from "@cloudflare/containers";
import { containerErrorText, isConnectionLost } from "../http/forwarding";
import {
  ATTEMPT_MS_HEADER,
  CHECK_HEADER,
  failureResponse,
  isShortAttempt,
  LOAD_HEADER,
  MODELS_HEADER,
  REPORT_HEADER,
  START_MS_HEADER,
  stripInternalHeaders,
  WAIT_HEADER,
} from "../http/internal_headers";
import { addServerTiming } from "../http/server_timing";
import { FailureEvidence } from "../pool/suspicion";
import { serverSettings, settingsOf } from "../settings";
import { errorText } from "./error_text";
import { type Counters, readCounters, recordStart, updateCounters } from "./lifecycle_counters";
import { ModelFingerprint } from "./model_fingerprint";

/** Time limit for the platform to find a machine. The library's default of 8 s is sometimes too short. */
const INSTANCE_TIMEOUT_MS = 30_000;
/** Time limit for the server to open its port, which it does after it loaded, checked and warmed every model. */
const PORT_TIMEOUT_MS = 60_000;
/** Interval between attempts to connect to the port. A cold start lasts at most this much longer than the boot. */
const PORT_POLL_MS = 100;
/** Interval of activity renewals during a boot. Without them a short SLEEP_AFTER would stop the booting container. */
const BOOT_RENEWAL_MS = 1_000;
/** Time limit for a running server to respond with its models. */
const MODELS_TIMEOUT_MS = 5_000;

/** Minimum interval between health checks that attempts with a short timeout cause. */
const MIN_CHECK_INTERVAL_MS = 10_000;

const READY_URL = "http://container/v2/health/ready";

/** State and counters of an instance, shown by `GET /status`. */
export interface InstanceReport extends Counters {
  state: string;
  inFlight: number;
}

/** Durable Object of one instance: forwards requests to the server in its container, and starts it if needed. */
export class InferenceContainer extends Container<Env> {
  override defaultPort = 8080;
  override requiredPorts = [8080];
  override sleepAfter = this.env.SLEEP_AFTER;
  /** The server makes no outgoing connections. */
  override enableInternet = false;
  /** The server's settings, including secrets: the Worker's variables whose names start with `LIFEBOAT_`. */
  override envVars = serverSettings(this.env);
  /**
   * URL that the library requests while it waits for the port. The response must have a body: the library never reads
   * it, and if it is empty, the runtime reuses the connection for the first request and then closes it.
   */
  override pingEndpoint = "container/v2/health/ready";

  #startPromise: Promise<void> | undefined;
  #healthCheck: Promise<void> | undefined;
  #lastCheckAt = 0;
  readonly #evidence = new FailureEvidence();
  readonly #fingerprint = new ModelFingerprint(this.ctx.storage.kv, this.env.CF_VERSION_METADATA?.id, (path) =>
    this.#fetchText(path),
  );

  /**
   * Forward a request to the server, and start the server first if it doesn't run. The request waits for the start,
   * unless its wait header says that the Worker can send it to another instance.
   */
  override async fetch(request: Request): Promise<Response> {
    let startMs = 0;
    const headers = new Headers(request.headers);
    stripInternalHeaders(headers);
    headers.set(REPORT_HEADER, "1");
    try {
      // During a health check no request is sent to the server: it goes to another instance, or waits.
      if (this.#healthCheck !== undefined && request.headers.get(WAIT_HEADER) === "no") {
        return failureResponse("asleep", "its readiness is being checked");
      }
      await this.#healthCheck;
      if (!(await this.#isReady())) {
        const start = this.#ensureStarted();
        if (request.headers.get(WAIT_HEADER) === "no") {
          // Requests that wait for the start receive its error, and #boot logs it.
          this.ctx.waitUntil(start.catch(() => {}));
          return failureResponse("asleep", "it is not running, and is being started");
        }
        const waitingSince = Date.now();
        await start;
        startMs = Date.now() - waitingSince;
        updateCounters(this.ctx.storage.kv, (counters) => {
          counters.coldCalls += 1;
        });
      }
    } catch (error) {
      return failureResponse("start", errorText(error));
    }
    if (request.headers.get(CHECK_HEADER) === "yes") return this.#respondToCheck();
    // Compressed responses pass unchanged. If they were compressed again, rows would wait until a buffer is full.
    const containerRequest = new Request(request, { headers, encodeResponseBody: "manual" });
    return this.#forward(containerRequest, Number(request.headers.get(ATTEMPT_MS_HEADER) ?? 0), startMs);
  }

  /** Return the instance's state and counters, without starting it. */
  async report(): Promise<InstanceReport> {
    const { status } = await this.getState();
    const state = this.#startPromise ? "starting" : this.ctx.container?.running ? status : "asleep";
    return { state, inFlight: this.#evidence.inFlight, ...readCounters(this.ctx.storage.kv) };
  }

  /**
   * Return the fingerprint of the server's models, without starting it. After a stop it is the fingerprint of the last
   * start; undefined if it is not known, or if another version of the Worker computed it.
   */
  async models(): Promise<string | undefined> {
    if (await this.#isReady()) await this.#fingerprint.ensureComputed();
    return this.#fingerprint.read();
  }

  /** Return the server's response with internal headers added, or a failure response. */
  async #forward(request: Request, attemptMs: number, startMs: number): Promise<Response> {
    const startedAt = Date.now();
    const unresponsiveMs = this.#evidence.recordRequest(startedAt);
    const { attemptTimeoutMs } = settingsOf(this.env);
    // A streamed body has more time than one attempt. A check tells a slow client from a dead server.
    const isLong = attemptMs > attemptTimeoutMs;
    const checkTimer = isLong ? setTimeout(() => this.ctx.waitUntil(this.#checkHealth()), attemptTimeoutMs) : null;
    try {
      const response = await this.#fetchWithTimeout(request, attemptMs); // the Worker translates the platform's errors
      if (response === undefined) {
        const suspicion = this.#evidence.recordTimeout(startedAt, unresponsiveMs, Date.now());
        this.#handleTimeout(isShortAttempt(attemptMs, attemptTimeoutMs), startedAt);
        return failureResponse("hung", `no response in ${attemptMs} ms`, suspicion);
      }
      const platformError = await containerErrorText(response);
      if (platformError !== undefined) {
        const isSuspect = isConnectionLost(platformError) && !request.signal.aborted;
        return failureResponse(
          "gone",
          platformError,
          isSuspect ? this.#evidence.recordDisconnect(startedAt, Date.now()) : undefined,
        );
      }
      this.#evidence.recordResponse(Date.now());
      const result = new Response(response.body, response);
      // Older images don't report their load.
      if (!result.headers.has(LOAD_HEADER)) result.headers.set(LOAD_HEADER, `${this.#evidence.inFlight}/0`);
      const models = this.#fingerprint.read();
      if (models !== undefined) result.headers.set(MODELS_HEADER, models);
      if (startMs > 0) result.headers.set(START_MS_HEADER, String(startMs));
      return addServerTiming(result, "instance", Date.now() - startedAt, this.ctx.id.name);
    } finally {
      clearTimeout(checkTimer);
      this.#evidence.recordEnd();
    }
  }

  /**
   * Check the server's health after an attempt timed out, unless the server responded to other requests meanwhile. A
   * timeout alone restarts nothing: the check decides. Attempts with a short timeout cause at most one check in ten
   * seconds.
   */
  #handleTimeout(isShort: boolean, sentAt: number): void {
    if (isShort && Date.now() - this.#lastCheckAt < MIN_CHECK_INTERVAL_MS) return;
    if (!this.#evidence.hasRespondedRecently(sentAt, Date.now())) this.ctx.waitUntil(this.#checkHealth());
    if (isShort) return;
    updateCounters(this.ctx.storage.kv, (counters) => {
      counters.hung += 1;
    });
  }

  /** Return the server's response, undefined if it doesn't begin in `attemptMs`; 0 means no time limit. */
  async #fetchWithTimeout(request: Request, attemptMs: number): Promise<Response | undefined> {
    if (!(attemptMs > 0)) return this.containerFetch(request, this.defaultPort);
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), attemptMs);
    const signal = AbortSignal.any([request.signal, timeout.signal]);
    try {
      const response = await this.containerFetch(new Request(request, { signal }), this.defaultPort);
      return timeout.signal.aborted ? undefined : response;
    } finally {
      clearTimeout(timer); // the body of the response has no time limit
    }
  }

  /** Respond to the cron's check: request the server's readiness, and restart the server once if it is not ready. */
  async #respondToCheck(): Promise<Response> {
    const status = await this.#probeReadiness();
    if (status === 200) {
      await this.#fingerprint.ensureComputed();
      return Response.json({ ready: true });
    }
    console.error(`instance ${this.ctx.id} failed its readiness check with status ${status}: restarting it`);
    try {
      await this.#restart();
    } catch (error) {
      return failureResponse("start", errorText(error));
    }
    const statusAfterRestart = await this.#probeReadiness();
    return Response.json({ ready: statusAfterRestart === 200 }, { status: statusAfterRestart === 200 ? 200 : 503 });
  }

  /** Request the server's readiness, and restart it if it doesn't respond. Concurrent calls share one check. */
  #checkHealth(): Promise<void> {
    this.#lastCheckAt = Date.now();
    this.#healthCheck ??= this.#probeReadiness()
      .then((status) => (status === 0 ? this.#restart() : undefined))
      .catch((error) => console.error(`instance ${this.ctx.id} was not restarted: ${errorText(error)}`))
      .finally(() => {
        this.#healthCheck = undefined;
      });
    return this.#healthCheck;
  }

  /** Request the server's readiness and record the result. Returns the status, 0 after a timeout. */
  async #probeReadiness(): Promise<number> {
    const startedAt = Date.now();
    const response = await this.#fetchWithTimeout(new Request(READY_URL), settingsOf(this.env).deadAfterMs);
    await response?.text(); // a body that is not read to its end counts as an unfinished request
    const status = response?.status ?? 0;
    if (status !== 0) this.#evidence.recordResponse(Date.now());
    updateCounters(this.ctx.storage.kv, (counters) => {
      counters.ready = { at: new Date(startedAt).toISOString(), status, ms: Date.now() - startedAt };
    });
    return status;
  }

  async #restart(): Promise<void> {
    updateCounters(this.ctx.storage.kv, (counters) => {
      counters.restarts += 1;
    });
    await this.destroy(); // SIGKILL: a server that hangs doesn't handle SIGTERM
    await this.#ensureStarted();
  }

  async #fetchText(path: string): Promise<string> {
    const response = await this.#fetchWithTimeout(new Request(`http://container${path}`), MODELS_TIMEOUT_MS);
    const text = await response?.text();
    if (response?.status !== 200 || text === undefined)
      throw new Error(`${path} responded with ${response?.status ?? "nothing"}`);
    return text;
  }

  async #isReady(): Promise<boolean> {
    const { status } = await this.getState();
    return this.ctx.container?.running === true && status === "healthy";
  }

  /**
   * Wait until the server listens. All requests share one start, so `onStart` runs once, and a client that disconnects
   * doesn't cancel the start for the others.
   */
  #ensureStarted(): Promise<void> {
    this.#startPromise ??= this.#boot().finally(() => {
      this.#startPromise = undefined;
    });
    return this.#startPromise;
  }

  async #boot(): Promise<void> {
    const startedAt = Date.now();
    this.#fingerprint.clear();
    const renewal = setInterval(() => this.renewActivityTimeout(), BOOT_RENEWAL_MS);
    try {
      await this.startAndWaitForPorts({
        ports: this.requiredPorts,
        cancellationOptions: {
          instanceGetTimeoutMS: INSTANCE_TIMEOUT_MS,
          portReadyTimeoutMS: PORT_TIMEOUT_MS,
          waitInterval: PORT_POLL_MS,
        },
      });
      recordStart(this.ctx.storage.kv, Date.now() - startedAt);
      this.ctx.waitUntil(this.#fingerprint.ensureComputed());
    } catch (error) {
      recordStart(this.ctx.storage.kv, undefined);
      console.error(`start of ${this.ctx.id} failed: ${errorText(error)}`);
      throw error;
    } finally {
      clearInterval(renewal);
    }
  }

  override onStart(): void {
    this.#fingerprint.clear(); // also here: the library restarts a dead container by itself when it forwards a request
    console.log(`instance ${this.ctx.id} started`);
  }

  override onStop({ exitCode, reason }: { exitCode: number; reason: string }): void {
    updateCounters(this.ctx.storage.kv, (counters) => {
      counters.exits[exitCode] = (counters.exits[exitCode] ?? 0) + 1;
    });
    console.log(`instance ${this.ctx.id} stopped: ${reason}, exit code ${exitCode}`);
  }

  override onError(error: unknown): void {
    console.error(`instance ${this.ctx.id}: ${errorText(error)}`);
  }
}
