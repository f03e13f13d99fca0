/**
 * Durable Object that starts, calls and stops one container instance.
 * @module
 */
import { Container } from "@cloudflare/containers";
import { containerFailure, isDisconnected } from "../http/forwarding";
import {
  ATTEMPT_MS,
  CHECK,
  failure,
  isHurried,
  LOAD,
  MODELS,
  REPORT,
  START_MS,
  stripHop,
  WAIT,
} from "../http/internal_headers";
import { withTiming } from "../http/server_timing";
import { CallEvidence } from "../pool/suspicion";
import { serverSettings, settingsOf } from "../settings";
import { reasonOf } from "./error_text";
import { type Counters, count, counters, countStart } from "./lifecycle_counters";
import { Models } from "./model_fingerprint";

/** Time limit for the platform to find a machine. The library's default of 8 s is sometimes too short. */
const INSTANCE_TIMEOUT_MS = 30_000;
/** Time limit for the server to open its port, which it does after it loaded, checked and warmed every model. */
const PORT_TIMEOUT_MS = 60_000;
/** Interval between attempts to connect to the port. A cold start lasts at most this much longer than the boot. */
const POLL_MS = 100;
/** Interval of activity renewals during a boot. Without them a short SLEEP_AFTER would stop the booting container. */
const BOOT_RENEWAL_MS = 1_000;
/** Time limit for a running server to respond with its models. */
const ALIVE_MS = 5_000;

/** Minimum interval between health checks that attempts with a short timeout cause. */
const DOUBT_MS = 10_000;

const READY = "http://container/v2/health/ready";

/** State and counters of an instance, shown by `GET /status`. */
export interface Report extends Counters {
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

  #starting: Promise<void> | undefined;
  #checking: Promise<void> | undefined;
  #checkedAt = 0;
  readonly #calls = new CallEvidence();
  readonly #models = new Models(this.ctx.storage.kv, this.env.CF_VERSION_METADATA?.id, (path) => this.#text(path));

  /**
   * Forward a request to the server, and start the server first if it doesn't run. The request waits for the start,
   * unless its wait header says that the Worker can send it to another instance.
   */
  override async fetch(request: Request): Promise<Response> {
    let startMs = 0;
    const headers = new Headers(request.headers);
    stripHop(headers);
    headers.set(REPORT, "1");
    try {
      // During a health check no request is sent to the server: it goes to another instance, or waits.
      if (this.#checking !== undefined && request.headers.get(WAIT) === "no") {
        return failure("asleep", "its health is being checked");
      }
      await this.#checking;
      if (!(await this.#isReady())) {
        const starting = this.#started();
        if (request.headers.get(WAIT) === "no") {
          // Requests that wait for the start receive its error, and #boot logs it.
          this.ctx.waitUntil(starting.catch(() => {}));
          return failure("asleep", "it doesn't run, and is being started");
        }
        const arrived = Date.now();
        await starting;
        startMs = Date.now() - arrived;
        count(this.ctx.storage.kv, (all) => {
          all.coldCalls += 1;
        });
      }
    } catch (error) {
      return failure("start", reasonOf(error));
    }
    if (request.headers.get(CHECK) === "yes") return this.#checked();
    // Compressed responses pass unchanged. If they were compressed again, rows would wait until a buffer is full.
    const asItIs = new Request(request, { headers, encodeResponseBody: "manual" });
    return this.#asked(asItIs, Number(request.headers.get(ATTEMPT_MS) ?? 0), startMs);
  }

  /** Return the instance's state and counters, without starting it. */
  async report(): Promise<Report> {
    const { status } = await this.getState();
    const state = this.#starting ? "starting" : this.ctx.container?.running ? status : "asleep";
    return { state, inFlight: this.#calls.inFlight, ...counters(this.ctx.storage.kv) };
  }

  /**
   * Return the fingerprint of the server's models, without starting it. After a stop it is the fingerprint of the last
   * start; undefined if it is not known, or if another version of the Worker computed it.
   */
  async models(): Promise<string | undefined> {
    if (await this.#isReady()) await this.#models.looked();
    return this.#models.known();
  }

  /** Return the server's response with internal headers added, or a failure response. */
  async #asked(request: Request, attemptMs: number, startMs: number): Promise<Response> {
    const began = Date.now();
    const silentMs = this.#calls.began(began);
    const { attemptTimeoutMs } = settingsOf(this.env);
    // A streamed body has more time than one attempt. A check tells a slow client from a dead server.
    const isLong = attemptMs > attemptTimeoutMs;
    const doubt = isLong ? setTimeout(() => this.ctx.waitUntil(this.#check()), attemptTimeoutMs) : null;
    try {
      const response = await this.#answer(request, attemptMs); // the Worker translates the platform's errors
      if (response === undefined) {
        const suspicion = this.#calls.hung(began, silentMs, Date.now());
        this.#silent(isHurried(attemptMs, attemptTimeoutMs), began);
        return failure("hung", `no answer in ${attemptMs} ms`, suspicion);
      }
      const words = await containerFailure(response);
      if (words !== undefined) {
        const isSuspect = isDisconnected(words) && !request.signal.aborted;
        return failure("gone", words, isSuspect ? this.#calls.lost(began, Date.now()) : undefined);
      }
      this.#calls.answered(Date.now());
      const told = new Response(response.body, response);
      // Older images don't report their load.
      if (!told.headers.has(LOAD)) told.headers.set(LOAD, `${this.#calls.inFlight}/0`);
      const models = this.#models.known();
      if (models !== undefined) told.headers.set(MODELS, models);
      if (startMs > 0) told.headers.set(START_MS, String(startMs));
      return withTiming(told, "instance", Date.now() - began, this.ctx.id.name);
    } finally {
      clearTimeout(doubt);
      this.#calls.ended();
    }
  }

  /**
   * Check the server's health after an attempt timed out, unless the server responded to other requests meanwhile. A
   * timeout alone restarts nothing: the check decides. Attempts with a short timeout cause at most one check in ten
   * seconds.
   */
  #silent(byHurried: boolean, began: number): void {
    if (byHurried && Date.now() - this.#checkedAt < DOUBT_MS) return;
    if (!this.#calls.isAlive(began, Date.now())) this.ctx.waitUntil(this.#check());
    if (byHurried) return;
    count(this.ctx.storage.kv, (all) => {
      all.hung += 1;
    });
  }

  /** Return the server's response, undefined if it doesn't begin in `attemptMs`; 0 means no time limit. */
  async #answer(request: Request, attemptMs: number): Promise<Response | undefined> {
    if (!(attemptMs > 0)) return this.containerFetch(request, this.defaultPort);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), attemptMs);
    const signal = AbortSignal.any([request.signal, late.signal]);
    try {
      const response = await this.containerFetch(new Request(request, { signal }), this.defaultPort);
      return late.signal.aborted ? undefined : response;
    } finally {
      clearTimeout(timer); // the body of the response has no time limit
    }
  }

  /** Respond to the cron's check: request the server's readiness, and restart the server once if it is not ready. */
  async #checked(): Promise<Response> {
    const status = await this.#ready();
    if (status === 200) {
      await this.#models.looked();
      return Response.json({ ready: true });
    }
    console.error(`instance ${this.ctx.id} answered its check with ${status}: started anew`);
    try {
      await this.#restart();
    } catch (error) {
      return failure("start", reasonOf(error));
    }
    const again = await this.#ready();
    return Response.json({ ready: again === 200 }, { status: again === 200 ? 200 : 503 });
  }

  /** Request the server's readiness, and restart it if it doesn't respond. Concurrent calls share one check. */
  #check(): Promise<void> {
    this.#checkedAt = Date.now();
    this.#checking ??= this.#ready()
      .then((status) => (status === 0 ? this.#restart() : undefined))
      .catch((error) => console.error(`instance ${this.ctx.id} was not started anew: ${reasonOf(error)}`))
      .finally(() => {
        this.#checking = undefined;
      });
    return this.#checking;
  }

  /** Request the server's readiness and record the result. Returns the status, 0 after a timeout. */
  async #ready(): Promise<number> {
    const began = Date.now();
    const response = await this.#answer(new Request(READY), settingsOf(this.env).deadAfterMs);
    await response?.text(); // a body that is not read to its end counts as an unfinished request
    const status = response?.status ?? 0;
    if (status !== 0) this.#calls.answered(Date.now());
    count(this.ctx.storage.kv, (all) => {
      all.ready = { at: new Date(began).toISOString(), status, ms: Date.now() - began };
    });
    return status;
  }

  async #restart(): Promise<void> {
    count(this.ctx.storage.kv, (all) => {
      all.restarts += 1;
    });
    await this.destroy(); // SIGKILL: a server that hangs doesn't handle SIGTERM
    await this.#started();
  }

  async #text(path: string): Promise<string> {
    const response = await this.#answer(new Request(`http://container${path}`), ALIVE_MS);
    const text = await response?.text();
    if (response?.status !== 200 || text === undefined)
      throw new Error(`${path} answered ${response?.status ?? "nothing"}`);
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
  #started(): Promise<void> {
    this.#starting ??= this.#boot().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #boot(): Promise<void> {
    const began = Date.now();
    this.#models.forget();
    const renewal = setInterval(() => this.renewActivityTimeout(), BOOT_RENEWAL_MS);
    try {
      await this.startAndWaitForPorts({
        ports: this.requiredPorts,
        cancellationOptions: {
          instanceGetTimeoutMS: INSTANCE_TIMEOUT_MS,
          portReadyTimeoutMS: PORT_TIMEOUT_MS,
          waitInterval: POLL_MS,
        },
      });
      countStart(this.ctx.storage.kv, Date.now() - began);
      this.ctx.waitUntil(this.#models.looked());
    } catch (error) {
      countStart(this.ctx.storage.kv, undefined);
      console.error(`start of ${this.ctx.id} failed: ${reasonOf(error)}`);
      throw error;
    } finally {
      clearInterval(renewal);
    }
  }

  override onStart(): void {
    this.#models.forget(); // also here: the library restarts a dead container by itself when it forwards a request
    console.log(`instance ${this.ctx.id} started`);
  }

  override onStop({ exitCode, reason }: { exitCode: number; reason: string }): void {
    count(this.ctx.storage.kv, (all) => {
      all.exits[exitCode] = (all.exits[exitCode] ?? 0) + 1;
    });
    console.log(`instance ${this.ctx.id} stopped: ${reason}, exit code ${exitCode}`);
  }

  override onError(error: unknown): void {
    console.error(`instance ${this.ctx.id}: ${reasonOf(error)}`);
  }
}
