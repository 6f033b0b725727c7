/**
 * One HTTP request for a job. The worker is outside the cell, so it sends requests only where its operator allows them: it
 * resolves the name, checks its addresses, and connects to the first checked address that it reaches. A name that resolves to another address later
 * (DNS rebinding) has no effect.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { Data, Effect, type Scope } from "effect";
import { type Cidr, rangeFinder, readCidr } from "../../../transport/ip_ranges.ts";
import type { FetchConfig } from "../../config/cell_config.ts";
import type { DigestCache } from "../../files/digest_cache.ts";
import { type BridgeProblem, connectorFailed, outOfScope } from "./problem.ts";

/** Addresses of a name that are tried, and the longest wait for a connection to one while others are left, in milliseconds. */
const addressesMax = 16, connectMsMax = 5_000;

/** The rules for requests, the resolver, and the addresses of hub and authorities. */
export interface Web {
  readonly rules: FetchConfig;
  /** All addresses of a name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** Authorities trusted instead of the runtime's own, PEM. */
  readonly ca?: string;
  /** Base address of the model hub. */
  readonly hubUrl: string;
  /** Files of the hub that earlier jobs fetched. */
  readonly cache?: DigestCache | undefined;
}

/** The system's resolver and the public hub, under `rules`. */
export function webUnder(rules: FetchConfig, cache?: DigestCache): Web {
  return {
    rules,
    cache,
    resolve: async (host) => (await lookup(host, { all: true })).map(({ address }) => address),
    hubUrl: "https://huggingface.co",
  };
}

/** An address as the log and errors show it. User, password, query and fragment may be secrets: they are not shown. */
export function shownAddress({ protocol, host, pathname, search }: URL): string {
  return `${protocol}//${host}${pathname}${search === "" ? "" : "?…"}`;
}

/** Why the configuration does not let jobs fetch from there, by scheme and name; undefined where it does. */
export function refusedByName(url: URL, { schemes, hosts }: FetchConfig): string | undefined {
  const scheme = url.protocol.slice(0, -1);
  if (!schemes.some((allowed) => allowed === scheme)) return `scheme ${scheme} is not allowed by [fetch] schemes`;
  const host = url.hostname.toLowerCase();
  const named = hosts === undefined ||
    hosts.some((allowed) => host === allowed.toLowerCase() || host.endsWith(`.${allowed.toLowerCase()}`));
  return named ? undefined : `host ${host} is not in [fetch] hosts`;
}

/** Requests a resource. The result is the response's head with an unread body. The request ends with the scope. */
export function openWebRequest(
  url: URL,
  { headers, idleMs }: { readonly headers: Readonly<Record<string, string>>; readonly idleMs: number },
  web: Web,
): Effect.Effect<IncomingMessage, BridgeProblem, Scope.Scope> {
  return Effect.gen(function* () {
    const refusal = refusedByName(url, web.rules);
    if (refusal !== undefined) return yield* Effect.fail(outOfScope(`${shownAddress(url)}: ${refusal}`));
    const addresses = yield* allowedAddresses(url, web, idleMs);
    // At least half of the time is left for the response of the last address.
    const connectMs = Math.min(connectMsMax, Math.floor(idleMs / (2 * addresses.length)));
    const asked = Effect.timeoutOrElse(askInOrder(url, addresses, { headers, connectMs, ca: web.ca }), {
      duration: idleMs,
      orElse: () => Effect.fail(connectorFailed(`HTTP request error: nothing for ${idleMs} ms (${shownAddress(url)})`)),
    });
    return yield* Effect.acquireRelease(
      asked,
      (response) => Effect.sync(() => void response.destroy()),
      { interruptible: true },
    );
  });
}

/** Requires that every address of the name is allowed: a single forbidden one refuses the name. */
function allowedAddresses(url: URL, web: Web, idleMs: number): Effect.Effect<readonly string[], BridgeProblem> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const denied = rangeFinder(
    web.rules.denyCidr.map(readCidr).filter((range): range is Cidr => typeof range !== "string"),
  );
  const addresses = isIP(host) > 0 ? Effect.succeed([host]) : Effect.tryPromise({
    try: () => web.resolve(host),
    catch: (error) => connectorFailed(`HTTP request error: ${(error as Error).message} (${shownAddress(url)})`),
  }).pipe(Effect.timeoutOrElse({
    duration: idleMs,
    orElse: () => Effect.fail(connectorFailed(`HTTP request error: ${host} was not resolved in ${idleMs} ms`)),
  }));
  return Effect.flatMap(addresses, (found) => {
    for (const address of found) {
      const range = denied(address);
      if (range !== undefined) {
        return Effect.fail(
          outOfScope(`${shownAddress(url)}: ${address} lies inside ${range.text} of [fetch] deny_cidr`),
        );
      }
    }
    return found.length === 0
      ? Effect.fail(connectorFailed(`HTTP request error: ${host} has no address`))
      : Effect.succeed([...new Set(found)].slice(0, addressesMax));
  });
}

/** A request without its address. */
interface Asked {
  readonly headers: Readonly<Record<string, string>>;
  /** Longest wait for a connection while other addresses are left. */
  readonly connectMs: number;
  readonly ca: string | undefined;
}

/** No connection came about: another address may be reached. */
class Unreached extends Data.TaggedClass("Unreached")<{ readonly problem: BridgeProblem }> {}

/** Sends the request to the first address that accepts a connection. */
function askInOrder(
  url: URL,
  [address = "", ...others]: readonly string[],
  asked: Asked,
): Effect.Effect<IncomingMessage, BridgeProblem> {
  const isLast = others.length === 0;
  return Effect.catchTag(
    ask(url, address, isLast ? { ...asked, connectMs: undefined } : asked),
    "Unreached",
    ({ problem }) => isLast ? Effect.fail(problem) : askInOrder(url, others, asked),
  );
}

function ask(
  url: URL,
  address: string,
  { headers, connectMs, ca }: Omit<Asked, "connectMs"> & { readonly connectMs: number | undefined },
): Effect.Effect<IncomingMessage, BridgeProblem | Unreached> {
  const isTls = url.protocol === "https:";
  return Effect.callback<IncomingMessage, BridgeProblem | Unreached>((resume) => {
    let isConnected = false;
    const fail = (error: Error) => {
      clearTimeout(timer);
      const problem = connectorFailed(`HTTP request error: ${error.message} (${shownAddress(url)})`);
      resume(Effect.fail(isConnected ? problem : new Unreached({ problem })));
    };
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const asked = (isTls ? httpsRequest : httpRequest)({
      host: address,
      port: url.port === "" ? (isTls ? 443 : 80) : Number(url.port),
      path: `${url.pathname}${url.search}`,
      method: "GET",
      headers: { host: url.host, accept: "*/*", "user-agent": "hypha-worker", ...headers },
      agent: false,
      ...(isTls && isIP(host) === 0 ? { servername: host } : {}),
      ...(ca === undefined ? {} : { ca }),
    });
    const timer = connectMs === undefined ? undefined : setTimeout(() => {
      fail(new Error(`no connection to ${address} for ${connectMs} ms`));
      asked.destroy();
    }, connectMs);
    asked.once("socket", (socket) =>
      socket.once("connect", () => {
        isConnected = true;
        clearTimeout(timer);
      }));
    asked.once("response", (response) => {
      clearTimeout(timer);
      response.on("error", () => {/* who reads it is told */});
      resume(Effect.succeed(response));
    });
    asked.on("error", fail);
    asked.end();
    return Effect.sync(() => {
      clearTimeout(timer);
      asked.destroy();
    });
  });
}
