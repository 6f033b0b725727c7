/**
 * One HTTP request for a job. The worker is outside the cell, so it sends requests only where its operator allows them: it
 * resolves the name, checks its addresses, and connects to a checked address. A name that resolves to another address later
 * (DNS rebinding) has no effect.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import { Effect, type Scope } from "effect";
import { type Cidr, rangeFinder, readCidr } from "../../../transport/ip_ranges.ts";
import type { FetchConfig } from "../../config/cell_config.ts";
import type { DigestCache } from "../../files/digest_cache.ts";
import { type BridgeProblem, connectorFailed, outOfScope } from "./problem.ts";

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
    const address = yield* allowedAddress(url, web, idleMs);
    return yield* Effect.acquireRelease(
      ask(url, address, { headers, idleMs, ca: web.ca }),
      (response) => Effect.sync(() => void response.destroy()),
      { interruptible: true },
    );
  });
}

/** Requires that every address of the name is allowed: a single forbidden one refuses the name. */
function allowedAddress(url: URL, web: Web, idleMs: number): Effect.Effect<string, BridgeProblem> {
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
    const [first] = found;
    return first === undefined
      ? Effect.fail(connectorFailed(`HTTP request error: ${host} has no address`))
      : Effect.succeed(first);
  });
}

function ask(
  url: URL,
  address: string,
  { headers, idleMs, ca }: {
    readonly headers: Readonly<Record<string, string>>;
    readonly idleMs: number;
    readonly ca: string | undefined;
  },
): Effect.Effect<IncomingMessage, BridgeProblem> {
  const isTls = url.protocol === "https:";
  return Effect.callback<IncomingMessage, BridgeProblem>((resume) => {
    const fail = (error: Error) =>
      resume(Effect.fail(connectorFailed(`HTTP request error: ${error.message} (${shownAddress(url)})`)));
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
    asked.once("response", (response) => {
      response.on("error", () => {/* who reads it is told */});
      resume(Effect.succeed(response));
    });
    asked.on("error", fail);
    asked.end();
    return Effect.sync(() => void asked.destroy());
  }).pipe(Effect.timeoutOrElse({
    duration: idleMs,
    orElse: () => Effect.fail(connectorFailed(`HTTP request error: nothing for ${idleMs} ms (${shownAddress(url)})`)),
  }));
}
