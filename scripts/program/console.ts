/**
 * Opens the console of a program, where one is configured.
 *
 * @module
 */
import { Effect, type Scope } from "effect";
import { emptyBody, jsonRoute } from "../../actors/admin/json_route.ts";
import type { AdminRoutes } from "../../actors/admin/serve_admin.ts";
import type { ListenPlace } from "../../actors/config/telemetry_values.ts";
import type { MachineShape } from "../../actors/console/machine_shape.ts";
import { usableRoutes } from "../../actors/console/console_routes.ts";
import type { FeedParts } from "../../actors/console/feed.ts";
import { makeRefusalHistory, sampleMs } from "../../actors/console/refusal_history.ts";
import { serveConsole } from "../../actors/console/serve_console.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { consolePage } from "./console_page.ts";
import type { Log } from "./log.ts";

interface ConsoleOf {
  /** The routes of the program's admin socket. */
  readonly routes: AdminRoutes;
  /** The machines that the page draws. */
  readonly machines?: readonly MachineShape[];
  readonly ports: Ports;
  /** The program's own log. The address holds a secret: it goes to no collector. */
  readonly log: Pick<Log, "announce">;
  readonly kind: "node" | "ca";
}

/** Serves until the scope closes. A program goes on without its console where the console cannot be opened. */
export function openConsole(
  place: ListenPlace,
  { routes: own, machines, ports, log, kind }: ConsoleOf,
): Effect.Effect<void, never, Scope.Scope> {
  const warn = (message: string) =>
    Effect.sync(() => {
      ports.report({ level: "warn", event: "console.unserved", message: `${message}. The program goes on without it` });
    });
  const routes = machines === undefined ? own : { ...own, ...machineRoute(machines) };
  const history = makeRefusalHistory();
  const look = () => lookAt(routes, kind);
  const sample = async () => {
    const { refusals = [] } = await look() as { readonly refusals?: readonly { readonly count: number }[] };
    history.note(ports.now(), refusals.reduce((sum, { count }) => sum + count, 0));
  };
  const sampling = Effect.acquireRelease(
    Effect.sync(() => setInterval(() => void sample().catch(() => {}), sampleMs).unref()),
    (timer) => Effect.sync(() => clearInterval(timer)),
  );
  const page = Effect.tryPromise({ try: () => consolePage(), catch: (error) => noPage(error) });
  const opened = Effect.flatMap(
    page,
    (page) =>
      serveConsole({
        ...{ place, page, routes, now: ports.now },
        look: async () => ({ ...await look(), ...(kind === "node" ? { refusalHistory: history.samples() } : {}) }),
      }),
  );
  return Effect.matchEffect(opened, {
    onSuccess: ({ url }) => {
      log.announce({ level: "info", event: "console.listening", message: `Console: ${url}`, fields: { url } });
      return kind === "node" ? sampling : Effect.void;
    },
    onFailure: ({ message }) => warn(message),
  });
}

const machineRoute = (machines: readonly MachineShape[]): AdminRoutes => ({
  "POST /machines": jsonRoute(
    { summary: "Describe the machines.", body: emptyBody },
    () => ({ status: 200, body: { machines } }),
  ),
});

/** In the source tree the page is made by esbuild, a program that Deno's permissions may not allow. */
function noPage(error: unknown): Error {
  const reason = error instanceof Error ? error.message.split("\n", 1)[0] : String(error);
  return new Error(
    `Cannot make the console's page: ${reason}. Run the program of the built package (npm run build), or allow deno run -A`,
  );
}

/** The parts of the feed: those of the program's status, and the routes that the page may use. */
async function lookAt(routes: AdminRoutes, kind: ConsoleOf["kind"]): Promise<FeedParts> {
  const route = routes["GET /status"];
  const { status, body } = typeof route === "function" ? await route({}) : { status: 404, body: {} };
  const parts = status === 200 ? body as FeedParts : { state: "starting" };
  return { kind, acts: usableRoutes(routes), ...parts };
}
