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

/** How long the platform may take to find a machine for the container. The library's own 8 s is shorter than a bad day's. */
const INSTANCE_TIMEOUT_MS = 30_000;
/** How long the server may take to open its port, which it does once every model is loaded, checked and warm. */
const PORT_TIMEOUT_MS = 60_000;
/** How often the port is tried: a caller of a cold start waits at most this much longer than the boot takes. */
const POLL_MS = 100;
/** A boot counts as activity, however short SLEEP_AFTER is: else the container would be put to sleep while it boots. */
const BOOT_RENEWAL_MS = 1_000;
/** How long a server that runs may take to tell its models. */
const ALIVE_MS = 5_000;

/** How often at most callers in a hurry have the server asked whether it lives. */
const DOUBT_MS = 10_000;

const READY = "http://container/v2/health/ready";

/** What `GET /status` shows of an instance. */
export interface Report extends Counters {
  state: string;
  inFlight: number;
}

export class InferenceContainer extends Container<Env> {
  override defaultPort = 8080;
  override requiredPorts = [8080];
  override sleepAfter = this.env.SLEEP_AFTER;
  /** The server calls nobody. */
  override enableInternet = false;
  /** The server's own settings, secrets among them, as they stand in the Worker's: its variables LIFEBOAT_.... */
  override envVars = serverSettings(this.env);
  /**
   * What the wait for the port asks for. Its answer must have a body: the library never reads it, and where it is empty the
   * runtime hands the connection to the first caller and then closes it.
   */
  override pingEndpoint = "container/v2/health/ready";

  #starting: Promise<void> | undefined;
  #checking: Promise<void> | undefined;
  #checkedAt = 0;
  readonly #calls = new CallEvidence();
  readonly #models = new Models(this.ctx.storage.kv, this.env.CF_VERSION_METADATA?.id, (path) => this.#text(path));

  /**
   * Forwards a request to the server, which is started first where it isn't running; the caller waits for it, unless the
   * Worker has another one to ask.
   */
  override async fetch(request: Request): Promise<Response> {
    let startMs = 0;
    const headers = new Headers(request.headers);
    stripHop(headers);
    headers.set(REPORT, "1");
    try {
      // While its health is being checked nothing is sent to it: a call goes to another instance, or waits.
      if (this.#checking !== undefined && request.headers.get(WAIT) === "no") {
        return failure("asleep", "its health is being checked");
      }
      await this.#checking;
      if (!(await this.#isReady())) {
        const starting = this.#started();
        if (request.headers.get(WAIT) === "no") {
          this.ctx.waitUntil(starting.catch(() => {})); // told below to those who wait for it, and by the log
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
    // Packed answers pass as they are: decompressed and packed again, their rows would be held back until a buffer is full.
    const asItIs = new Request(request, { headers, encodeResponseBody: "manual" });
    return this.#asked(asItIs, Number(request.headers.get(ATTEMPT_MS) ?? 0), startMs);
  }

  /** Returns how the instance is and was, without starting it. */
  async report(): Promise<Report> {
    const { status } = await this.getState();
    const state = this.#starting ? "starting" : this.ctx.container?.running ? status : "asleep";
    return { state, inFlight: this.#calls.inFlight, ...counters(this.ctx.storage.kv) };
  }

  /**
   * Returns which models the server has, without starting it: those of its last start, as long as the Worker is of the
   * version that saw them. Undefined where it isn't known.
   */
  async models(): Promise<string | undefined> {
    if (await this.#isReady()) await this.#models.looked();
    return this.#models.known();
  }

  /** The server's answer with what the instance has to say of it, or why there is none. */
  async #asked(request: Request, attemptMs: number, startMs: number): Promise<Response> {
    const began = Date.now();
    const silentMs = this.#calls.began(began);
    const { attemptTimeoutMs } = settingsOf(this.env);
    // A body that is streamed has more time than an attempt: meanwhile its sender may be slow, or the server dead.
    const isLong = attemptMs > attemptTimeoutMs;
    const doubt = isLong ? setTimeout(() => this.ctx.waitUntil(this.#check()), attemptTimeoutMs) : null;
    try {
      const response = await this.#answer(request, attemptMs); // the platform's own failures are the Worker's to translate
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
      if (!told.headers.has(LOAD)) told.headers.set(LOAD, `${this.#calls.inFlight}/0`); // an image that doesn't report
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
   * Checks the server's health after a call got no answer, unless others were answered meanwhile. A call alone restarts
   * nothing: the check decides. For callers in a hurry it is made every ten seconds at most.
   */
  #silent(byHurried: boolean, began: number): void {
    if (byHurried && Date.now() - this.#checkedAt < DOUBT_MS) return;
    if (!this.#calls.isAlive(began, Date.now())) this.ctx.waitUntil(this.#check());
    if (byHurried) return;
    count(this.ctx.storage.kv, (all) => {
      all.hung += 1;
    });
  }

  /** The server's answer, undefined where it doesn't begin in time; 0: it may take what it takes. */
  async #answer(request: Request, attemptMs: number): Promise<Response | undefined> {
    if (!(attemptMs > 0)) return this.containerFetch(request, this.defaultPort);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), attemptMs);
    const signal = AbortSignal.any([request.signal, late.signal]);
    try {
      const response = await this.containerFetch(new Request(request, { signal }), this.defaultPort);
      return late.signal.aborted ? undefined : response;
    } finally {
      clearTimeout(timer); // an answer that has begun may take its time
    }
  }

  /** The answer to the cron: readiness, by a real request; an instance that isn't ready is started again, once. */
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

  /** Finds out, once for all who would, whether a server that didn't answer lives; starts it again where it doesn't. */
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

  /** The status of a readiness request, 0 where none came in time; recorded. */
  async #ready(): Promise<number> {
    const began = Date.now();
    const response = await this.#answer(new Request(READY), settingsOf(this.env).deadAfterMs);
    await response?.text(); // read to the end, or the request would count as unfinished
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
    await this.destroy(); // SIGKILL: it would not hear a SIGTERM
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
   * Resolves when the server listens. One start serves every client that waits, and belongs to none of them: one who
   * leaves doesn't take the start away from the others, and `onStart` runs once.
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
    this.#models.forget(); // here too, for the library starts by itself what it finds dead as it forwards a request
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
