/**
 * Trust for an application: the files of trust and revocation as a snapshot, and a new snapshot whenever they change.
 *
 * @module
 */
import { resolve } from "node:path";
import { Result } from "effect";
import type { MemberRole } from "../../pki/certificate.ts";
import { defaultPolicy, type Policy, type TrustSnapshot } from "../../pki/trust.ts";
import { LoadError } from "../files/load_error.ts";
import type { Ports, Report } from "../runtime/ports.ts";
import { makePorts, type RealPorts } from "../runtime/real_ports.ts";
import { superviseRoot } from "../runtime/supervise.ts";
import type { TrustStoreInput, TrustTiming } from "./trust_store.ts";
import { trustWatchMachine } from "./trust_watch.ts";

/** Paths of the files, as in a node's configuration. */
export interface WatchedPaths {
  /** The CA certificates that are trusted (PEM). */
  readonly trustPem: string;
  /** Their revocation lists (PEM). Without them no certificate is ever revoked. */
  readonly crlsPem?: string | undefined;
  /** The application's own trust domain: certificates of `trustPem` may claim no other; by default any but those of `domains`. */
  readonly ownName?: string | undefined;
  /** Other trust domains; none by default. */
  readonly domains?: readonly WatchedDomain[] | undefined;
}

/** Paths of one further trust domain. */
export interface WatchedDomain {
  /** Its name, as in `spiffe://NAME/…`. */
  readonly name: string;
  /** Its CA certificates (PEM), or its SPIFFE bundle (JSON). */
  readonly trust: string;
  /** Its revocation lists (PEM). */
  readonly crlsPem?: string | undefined;
  /** The roles that its certificates may claim; all by default. */
  readonly roles?: readonly MemberRole[] | undefined;
  /** What may be trusted in it; as in the application's own by default. */
  readonly policy?: Policy | undefined;
}

/** Options of the watch, and its callbacks. */
export interface WatchTrustOptions {
  /** Called with each snapshot after the first: pass it to the connections' checks (`trustChanged` of `makeMtlsSecurity`). */
  readonly onChange?: (snapshot: TrustSnapshot) => void;
  /** Called with warnings for an operator: a file that does not load, a list that is about to expire. */
  readonly onWarning?: (warning: Report) => void;
  /**
   * Called when the watch stopped with an error, or a callback threw. A revocation may be missed from then on, so close
   * the connections that depend on this trust. Without this callback the error ends the process.
   */
  readonly onFailed?: (error: unknown) => void;
  /**
   * Directory that keeps the lists and the highest numbers seen, so that an older list takes no revocation back after a restart. One
   * process may use it at a time. Without it nothing is remembered.
   */
  readonly stateDir?: string;
  /** What may be trusted; {@linkcode defaultPolicy} by default. */
  readonly policy?: Policy;
  /** Times in milliseconds; those of a node by default. */
  readonly timing?: Partial<TrustTiming>;
  /** Clock and files, for tests; those of the machine by default. Its `report` is not called. */
  readonly ports?: Ports;
}

/** A running watch. Files and timers keep the process alive until it is closed. */
export interface TrustWatch {
  /** The current trust snapshot. */
  readonly snapshot: () => TrustSnapshot;
  /** Reads the files again, changed or not. */
  readonly reload: () => void;
  /** Ends the watch. A second call does nothing. */
  readonly close: () => Promise<void>;
}

/**
 * Loads the files of trust, and watches them. A renamed file takes effect within a second; a torn one has no effect until
 * it is whole, and its previous content stays in force meanwhile.
 *
 * Verifies no certificate: pass the snapshots to `makeMtlsSecurity`, or to `verifyPath`.
 *
 * @param paths The files.
 * @returns The watch once everything is loaded, or the first file that does not load, what is wrong with it and the command
 * that corrects it. Rejects only for errors that no file causes.
 */
export async function watchTrust(
  paths: WatchedPaths,
  options: WatchTrustOptions = {},
): Promise<Result.Result<TrustWatch, LoadError>> {
  const failed = options.onFailed ?? endTheProcess;
  const report = (warning: Report) => {
    if (warning.level !== "warn" && warning.level !== "error") return;
    try {
      options.onWarning?.(warning);
    } catch (error) {
      failed(error);
    }
  };
  const own: RealPorts | undefined = options.ports === undefined ? makePorts(report) : undefined;
  const ports = own ?? { ...options.ports as Ports, report };
  const end = async () => {
    actor.stop();
    await own?.dispose();
  };
  const first = Promise.withResolvers<void>();
  let started = false;
  const actor = superviseRoot(trustWatchMachine, {
    id: "trustWatch",
    input: inputOf(paths, options, ports),
    onEmitted: ({ snapshot }) => options.onChange?.(snapshot),
    onSnapshot: ({ value, context: { error } }) => {
      if (value === "loading") return;
      if (!started) first.resolve();
      else if (value === "failed") failed(error);
    },
    onError: (error) => started ? failed(error) : first.reject(error),
  });
  try {
    await first.promise;
  } catch (error) {
    await end();
    throw error;
  }
  started = true;
  const { snapshot, error } = actor.getSnapshot().context;
  if (snapshot === undefined) {
    await end();
    if (error instanceof LoadError) return Result.fail(error);
    throw error;
  }
  return Result.succeed({
    snapshot: () => actor.getSnapshot().context.snapshot ?? snapshot,
    reload: () => actor.send({ type: "trust.reload" }),
    close: end,
  });
}

/** Paths are taken from the folder that is current now: an application may change it later. */
function inputOf(paths: WatchedPaths, { policy = defaultPolicy, timing, stateDir }: WatchTrustOptions, ports: Ports) {
  const absolute = (path: string | undefined) => path === undefined ? undefined : resolve(path);
  const input: TrustStoreInput = {
    ports,
    policy,
    stateDir: absolute(stateDir),
    trustPem: resolve(paths.trustPem),
    crlsPem: absolute(paths.crlsPem),
    ownName: paths.ownName,
    domains: paths.domains?.map(({ trust, crlsPem, ...domain }) => ({
      ...domain,
      trust: resolve(trust),
      crlsPem: absolute(crlsPem),
    })),
    ...(timing === undefined ? {} : { timing }),
  };
  return input;
}

/** An application without `onFailed` ends: it must not rely on trust that is no longer kept current. */
function endTheProcess(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
