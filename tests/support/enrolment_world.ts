/**
 * A node that enrols, with its files in a folder of its own.
 *
 * @module
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import type { Actor } from "xstate";
import { parseToken } from "../../actors/ca/token.ts";
import { type AskHttps, askHttps } from "../../actors/enrolment/ask_https.ts";
import { type EnrolmentInput, enrolmentMachine, type EnrolmentPolicy } from "../../actors/enrolment/enrolment.ts";
import { enrolmentRefused } from "../../actors/enrolment/enrolment_refused.ts";
import { enrolmentFiles, type EnrolmentPaths } from "../../actors/enrolment/enrolment_store.ts";
import type { HardwareKey } from "../../actors/enrolment/identity_key.ts";
import type { GivenToken } from "../../actors/enrolment/obtain.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { makePorts, type RealPorts } from "../../actors/runtime/real_ports.ts";
import { type RootOptions, superviseRoot } from "../../actors/runtime/supervise.ts";
import { type Certificate, parseCertificate, type Role } from "../../pki/certificate.ts";
import { parsePem } from "../../pki/pem.ts";
import { defaultPolicy } from "../../pki/trust.ts";

/** What of a node differs from the usual. */
export interface EnrollingOptions {
  readonly token?: string;
  readonly role?: Role;
  readonly membership?: Partial<EnrolmentPolicy>;
  readonly ask?: AskHttps;
  readonly isIdle?: () => boolean;
  /** The key of the identity. */
  readonly hardware?: HardwareKey;
  /** Milliseconds since the epoch; the real clock where undefined. */
  readonly now?: () => number;
  /** Timers; the real ones where undefined. */
  readonly clock?: MachineClock;
  /** Called with each report. */
  readonly onReport?: (report: Report) => void;
}

type MachineClock = NonNullable<RootOptions<typeof enrolmentMachine>["clock"]>;

/** A clock that skips all waits. */
export class SkippingClock {
  /** Milliseconds that were skipped. */
  skippedMs = 0;
  readonly now = (): number => Date.now() + this.skippedMs;
  readonly clock = {
    setTimeout: (task: () => void, ms: number) =>
      setTimeout(() => {
        this.skippedMs += ms;
        task();
      }, 1),
    clearTimeout: (timer: unknown) => clearTimeout(timer as ReturnType<typeof setTimeout>),
  } as unknown as MachineClock;
}

/** A folder of a node's files, in which a machine can be started, and again. */
export class EnrollingNode {
  readonly folder = mkdtempSync(join(tmpdir(), "hypha-enrol-"));
  readonly paths: EnrolmentPaths & { readonly stateDir: string };
  readonly reports: Report[] = [];
  readonly #running = new Set<{ readonly actor: Actor<typeof enrolmentMachine>; readonly ports: RealPorts }>();

  /** @param identity Where the key of the node's identity is: with one in hardware the pair is in a folder of its own. */
  constructor(identity: "file" | "hardware" = "file") {
    const beside = (name: string) => join(this.folder, name);
    const pair = (name: string) => beside(identity === "file" ? name : join("state", "tls", name));
    this.paths = {
      ...{
        certPem: pair("cert.pem"),
        keyPem: pair("key.pem"),
        trustPem: beside("trust.pem"),
        stateDir: beside("state"),
      },
      identityPem: identity === "file" ? undefined : beside("identity.pem"),
    };
  }

  /** Starts the machine. */
  start(ca: readonly string[], options: EnrollingOptions = {}): Actor<typeof enrolmentMachine> {
    const { role = "worker", ask = askHttps, token, membership, isIdle, hardware, now, clock, onReport } = options;
    const real = makePorts((report) => {
      this.reports.push(report);
      onReport?.(report);
    });
    const ports = now === undefined ? real : { ...real, now };
    const input: EnrolmentInput = {
      ...{ ports, ask, role, policy: defaultPolicy, isIdle, hardware },
      store: enrolmentFiles(this.paths),
      membership: { ca, renew: true, key: "same", newKeyEveryMs: undefined, ...membership },
      ...(token === undefined ? {} : { token: tokenOf(token) }),
    };
    const onError = (error: unknown) => void this.errors.push(error);
    const timers = clock === undefined ? {} : { clock };
    const actor = superviseRoot(enrolmentMachine, { id: "enrolment", input, onError, ...timers });
    this.#running.add({ actor, ports: real });
    return actor;
  }

  /** What machines died of. */
  readonly errors: unknown[] = [];

  /** The leaf in `cert.pem`; undefined where there is none. */
  get leaf(): Certificate | undefined {
    return this.certificates(this.paths.certPem)[0];
  }

  /** The certificates of a file. */
  certificates(path: string): readonly Certificate[] {
    if (!existsSync(path)) return [];
    return Result.getOrThrow(parsePem(readFileSync(path, "utf8")))
      .map(({ der }) => Result.getOrThrow(parseCertificate(Uint8Array.from(der))));
  }

  /** Ends the machines of this folder. */
  stop(): void {
    for (const { actor, ports } of this.#running) {
      actor.stop();
      void ports.dispose();
    }
    this.#running.clear();
  }

  /** Ends the machines and removes the folder. */
  close(): void {
    this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A token as the machine takes it. */
export function tokenOf(text: string): GivenToken {
  const { id, anchor, url } = Result.getOrThrow(parseToken(text));
  return { id, anchor, url, text };
}

/** Waits until a machine is in a state. */
export function reaches(
  actor: Actor<typeof enrolmentMachine>,
  state: "resting" | "failed" | "absent" | "pending" | "waiting",
  timeoutMs = 10_000,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = () => actor.getSnapshot().matches(state);
    const timer = setTimeout(() => {
      const { value, context: { error } } = actor.getSnapshot();
      reject(new Error(`not ${state} but ${JSON.stringify(value)}: ${error?.message}`));
    }, timeoutMs);
    const done = () => {
      clearTimeout(timer);
      subscription.unsubscribe();
      resolve();
    };
    const subscription = actor.subscribe(() => look() && done());
    if (look()) done();
  });
}

/** A port that loses the answers of some requests, after the CA has heard them. */
export function losing(isLost: (path: string) => boolean): AskHttps {
  return (ask) =>
    Effect.flatMap(
      askHttps(ask),
      (answer) => isLost(ask.path) ? enrolmentRefused("ca-unreachable", "the answer was lost") : Effect.succeed(answer),
    );
}
