/**
 * One instance of the image, and the Durable Object that starts it, waits for it and lets it sleep.
 * @module
 */
import { Container } from "@cloudflare/containers";
import { refuser } from "./rpc";

/** How long the platform may take to find a machine for the container. The library's own 8 s is shorter than a bad day's. */
const INSTANCE_TIMEOUT_MS = 30_000;
/** How long the server may take to open its port, which it does once every model is loaded, checked and warm. */
const PORT_TIMEOUT_MS = 60_000;
/** How often the port is tried: a caller of a cold start waits at most this much longer than the boot takes. */
const POLL_MS = 100;
/** A boot counts as activity, however short SLEEP_AFTER is: else the container would be put to sleep while it boots. */
const BOOT_RENEWAL_MS = 1_000;

export class InferenceContainer extends Container<Env> {
  override defaultPort = 8080;
  override requiredPorts = [8080];
  override sleepAfter = this.env.SLEEP_AFTER;
  /** The server calls nobody. */
  override enableInternet = false;
  /**
   * What the wait for the port asks for. Its answer must have a body: the library never reads it, and where it is empty the
   * runtime hands the connection to the first caller and then closes it.
   */
  override pingEndpoint = "container/v2/health/ready";

  #starting: Promise<void> | undefined;

  /** Forwards a request to the server, which is started first where it isn't running; the caller waits for it. */
  override async fetch(request: Request): Promise<Response> {
    try {
      await this.#started();
    } catch (error) {
      console.error(`start of ${this.ctx.id} failed: ${error}`);
      return refuser(request)("unavailable", "no container instance could be started; try again");
    }
    // Packed answers pass as they are: unpacked and packed again, their rows would be held back until a buffer is full.
    const asItIs = new Request(request, { encodeResponseBody: "manual" });
    return this.containerFetch(asItIs, this.defaultPort); // the platform's own failures are the Worker's to translate
  }

  /**
   * Resolves when the server listens. One start serves every caller who waits, and belongs to none of them: one who
   * leaves doesn't take the start away from the others, and `onStart` runs once.
   */
  async #started(): Promise<void> {
    const { status } = await this.getState();
    if (this.ctx.container?.running && status === "healthy") return;
    this.#starting ??= this.#boot().finally(() => {
      this.#starting = undefined;
    });
    await this.#starting;
  }

  async #boot(): Promise<void> {
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
    } finally {
      clearInterval(renewal);
    }
  }

  override onStart(): void {
    console.log(`instance ${this.ctx.id} started`);
  }

  override onStop({ exitCode, reason }: { exitCode: number; reason: string }): void {
    console.log(`instance ${this.ctx.id} stopped: ${reason}, exit code ${exitCode}`);
  }

  override onError(error: unknown): void {
    console.error(`instance ${this.ctx.id}: ${error}`);
  }
}
