/**
 * A CA that runs: its lists are in force, its certificate is renewed, its port is open.
 *
 * ```
 *  waiting ◀── failed ── preparing ── done ──▶ listening: opening ── port, socket ──▶ serving ⇄ maintaining (each minute)
 *     └── 10 s ──────────────▲  │                  │
 *                               └── no port ───────┴──▶ failed         ca.stop, from everywhere ──▶ stopped
 * ```
 *
 * What cannot be prepared is tried again: a full disk or a key that is away end no CA. A port or an admin socket that cannot be
 * opened does. The admin socket is open in all states: an operator sees there why the port is not, and what needs no key can be done.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { assign, setup } from "xstate";
import { loadLibrary } from "../../pki/issue/to_library.ts";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import { type AdminRoutes, serveAdmin } from "../admin/serve_admin.ts";
import { SignerError } from "../pkcs11/signer_error.ts";
import type { KnownFork } from "../witness/known_forks.ts";
import { adminRoutes } from "./admin_routes.ts";
import { answer, renewAfterPart } from "./answer.ts";
import { resumeApproved } from "./approval_ceremony.ts";
import { enterStart, originText, type RestoredStart } from "./check_approvals.ts";
import { type CertificateAuthority, signersAt } from "./certificate_authority.ts";
import { certificateOf } from "./certificate_rows.ts";
import { checkPort, type HttpsPort, openHttpsPort, PortNotOpened } from "./https_port.ts";
import { type CaWatch, failedStatus, watchRoutes } from "./ca_watch.ts";
import { issueOwn, type ServerIdentity } from "./own_certificate.ts";
import { rootListState } from "./published_cas.ts";
import { renewLists } from "./revoke.ts";

/** How often lists and certificate are looked at, in milliseconds. */
export const maintenanceMs = 60_000;
/** The time until what failed is tried again, in milliseconds. */
export const retryMs = 10_000;

/** What a CA runs with. */
export interface CaInput {
  readonly ports: Ports;
  readonly ca: CertificateAuthority;
  /** Last part of the CA's own SPIFFE ID. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Path of the admin socket, in a folder that others cannot enter. */
  readonly socket: string;
  /** Routes of the admin socket that are the program's, beside those of the CA. */
  readonly programRoutes: AdminRoutes;
  /** The forks of audit logs that the CA's witness knows; it has no witness where undefined. */
  readonly forks?: (() => readonly KnownFork[]) | undefined;
  /** Follows requests. */
  readonly watch?: CaWatch | undefined;
  /** Why the file of approvers would prevent the next start; undefined where it would not. */
  readonly nextStart?: (() => string | undefined) | undefined;
}

/** What a running CA has. */
export interface CaContext extends CaInput {
  readonly identity: ServerIdentity | undefined;
  readonly open: HttpsPort | undefined;
  readonly isAdministrated: boolean;
  /** Why the port is not open yet; undefined where nothing went wrong. */
  readonly problem: string | undefined;
  /** Why the port or the socket could not be opened. */
  readonly reason: string | undefined;
}

/** Looks at the root's list, which is made elsewhere. */
const warnOfRootList = ({ ports, ca }: CaInput, at: Date) =>
  Effect.sync(() => {
    const state = Result.getOrUndefined(ca.register.read((rows) => rootListState(ca, rows, at)));
    if (state?.warning === undefined) return;
    ports.report({ ...state.warning, event: "ca.root-list-ends", fields: { days: state.days } });
  });

/** What a key signs to show that it signs again. Nothing that is signed elsewhere begins like this: it is no certificate, list or request. */
const keyProbe = Buffer.from("hypha-key-probe/1\n");

/**
 * A key that failed signs a text: what it signs otherwise may be due in a day. A token that is away refuses at once, and gets no PIN. What a
 * token refused for what it was (a list that is too long for it) a short text does not prove to be signed.
 */
const tryKeys = Effect.fnUntraced(function* ({ ca }: CaInput, at: Date) {
  for (const { keyFailure, issuer } of signersAt(ca, at)) {
    const failure = keyFailure();
    if (failure === undefined || (failure instanceof SignerError && failure.code === "signing-refused")) continue;
    yield* Effect.ignore(Effect.tryPromise(() => issuer.key.sign(keyProbe)));
  }
});

/** Each minute in which a key cannot sign is reported; what needs it is refused meanwhile. */
const reportKeys = ({ ports, ca }: CaInput, at: Date) =>
  Effect.sync(() => {
    for (const { keyFailure } of signersAt(ca, at)) {
      const failure = keyFailure();
      if (failure === undefined) continue;
      ports.report({ level: "error", event: "ca.signer-unavailable", message: failure.message });
    }
  });

/** Renews the lists that are due, those of each CA for themselves. Failures are tried again each minute; meanwhile the lists in force are served. */
const keepLists = Effect.fnUntraced(function* (ca: CertificateAuthority, at: Date) {
  let isOwnRenewed = false;
  const failures: string[] = [];
  for (const signer of signersAt(ca, at)) {
    const renewed = yield* Effect.result(renewLists(ca, at, [signer]));
    if (Result.isFailure(renewed)) {
      failures.push(`${signer.issuer.certificate.subject.text}: ${renewed.failure.message}`);
    } else if (signer === ca) isOwnRenewed = renewed.success === "renewed";
  }
  return { isOwnRenewed, failures };
});

const reportFailures = ({ ports }: CaInput, failures: readonly string[]) =>
  Effect.sync(() => {
    for (const message of failures) ports.report({ level: "error", event: "ca.failed", message });
  });

/** Each minute in which the file of approvers would prevent the next start is reported, while the CA still runs. */
const reportNextStart = ({ ports, nextStart }: CaInput) =>
  Effect.sync(() => {
    const message = nextStart?.();
    if (message !== undefined) ports.report({ level: "warn", event: "ca.approvers-differ", message });
  });

/** Once: a backup may have other approvers than those who were approved since, or none. */
function reportRestored({ ports }: CaInput, { policy, ...restoration }: RestoredStart): void {
  const approvers = policy === undefined
    ? "no operation waits for approvals"
    : `operations wait for ${policy.threshold} of ${policy.approvers.map(({ name }) => name).join(", ")}`;
  const message = `the register was ${originText(restoration)}: ${approvers}`;
  ports.report({ level: "warn", event: "ca.register-restored", message, fields: { policy: policy?.digest } });
}

const prepare = fromEffect("prepare", (input: CaInput) =>
  Effect.gen(function* () {
    const { ports, ca, name, host, port } = input;
    const at = new Date(ports.now());
    ca.register.prepareThreads();
    // Before its request expires: else an approved step is not permitted at the next start.
    const restored = yield* Effect.fromResult(enterStart(ca, at));
    if (restored !== undefined) reportRestored(input, restored);
    // The first request would pay for it: 80 ms of the event loop.
    yield* Effect.promise(() => loadLibrary());
    const resumed = yield* Effect.result(resumeApproved(ca, at));
    const { failures } = yield* keepLists(ca, at);
    // A program that is restarted every few seconds would issue a certificate each time.
    yield* checkPort({ host, port });
    const identity = yield* issueOwn(ca, name, at);
    yield* reportFailures(input, [...(Result.isFailure(resumed) ? [resumed.failure.message] : []), ...failures]);
    yield* warnOfRootList(input, at);
    return identity;
  }));

const listen = fromScoped(
  "listen",
  ({ ports, ca, host, port, identity, watch }: CaInput & { readonly identity: ServerIdentity }) =>
    openHttpsPort({
      host,
      port,
      identity,
      answer: (request) =>
        new Promise((resolve, reject) => {
          const answered = Effect.suspend(() => answer(ca, request, new Date(ports.now())));
          const ended = watch?.({ port: "https", method: request.method, path: request.path });
          ports.run(answered, (exit) => {
            ended?.(exit._tag === "Success" ? exit.value.status : failedStatus);
            if (exit._tag === "Success") resolve(exit.value);
            else reject(new Error("no answer"));
          });
        }),
      now: ports.now,
    }),
);

const administrate = fromScoped(
  "administrate",
  (
    { ports, ca, socket, programRoutes, watch, forks, nextStart, problem }: CaInput & {
      readonly problem: () => string | undefined;
    },
  ) => {
    const routes = adminRoutes(ca, ports, { forks, problem, nextStart });
    return serveAdmin(socket, { ...(watch === undefined ? routes : watchRoutes(routes, watch)), ...programRoutes });
  },
);

/** Renews what is due; the identity where it was renewed. */
const maintain = fromEffect(
  "maintain",
  ({ identity, ...input }: CaInput & { readonly identity: ServerIdentity }) =>
    Effect.gen(function* () {
      const { ports, ca, name } = input;
      const at = new Date(ports.now());
      yield* tryKeys(input, at);
      yield* reportKeys(input, at);
      yield* reportNextStart(input);
      ca.register.tryAgain();
      yield* resumeApproved(ca, at);
      const { notBefore, notAfter, fingerprint } = identity;
      const row = yield* Effect.fromResult(ca.register.read((rows) => certificateOf(rows, fingerprint)));
      // It is not valid yet where the clock was ahead.
      const due = +at < +notBefore || +at >= +notBefore + (+notAfter - +notBefore) * renewAfterPart ||
        row?.revoked !== null;
      const { isOwnRenewed, failures } = yield* keepLists(ca, at);
      yield* reportFailures(input, failures);
      // Once a day.
      if (isOwnRenewed) yield* warnOfRootList(input, at);
      return due ? yield* issueOwn(ca, name, at) : undefined;
    }),
);

const actors = { prepare, listen, administrate, maintain };
type CaEvent = EventsOf<typeof actors> | { readonly type: "ca.stop" };

const running = setup({
  types: { input: {} as CaInput, context: {} as CaContext, events: {} as CaEvent },
  actors,
  actions: {
    takeIdentity: assign((_, { identity }: { identity: ServerIdentity }) => ({ identity })),
    takePort: assign((_, { open }: { open: HttpsPort }) => ({ open })),
    takeSocket: assign({ isAdministrated: true }),
    takeProblem: assign((_, { problem }: { problem: string | undefined }) => ({ problem })),
    takeReason: assign((_, { reason }: { reason: string }) => ({ reason })),
    useIdentity: ({ context }, { identity }: { identity: ServerIdentity | undefined }) => {
      if (identity !== undefined) present(context.open, "the port").renew(identity);
    },
    report: ({ context }, { message }: { message: string }) =>
      context.ports.report({ level: "error", event: "ca.failed", message }),
    reportOpen: ({ context }) => {
      const { port } = present(context.open, "the port");
      const message = `CA of ${context.ca.domain} listens on port ${port}`;
      context.ports.report({ level: "info", event: "ca.listening", message, fields: { port } });
    },
  },
  guards: {
    isAdministrated: ({ context }) => context.isAdministrated,
    isOfPort: (_, { error }: { readonly error: unknown }) => error instanceof PortNotOpened,
  },
  delays: { maintenance: maintenanceMs, retry: retryMs },
});

/** The CA as a machine. The context of `failed` has the reason. */
export const caMachine = running.createMachine({
  id: "ca",
  context: ({ input }) => ({
    ...input,
    identity: undefined,
    open: undefined,
    isAdministrated: false,
    problem: undefined,
    reason: undefined,
  }),
  invoke: {
    src: "administrate",
    input: ({ context, self }) => ({ ...context, problem: () => self.getSnapshot().context.problem }),
  },
  on: {
    "ca.stop": { target: ".stopped" },
    "effect.done.administrate": { actions: "takeSocket" },
    "effect.failed.administrate": {
      target: ".failed",
      actions: { type: "takeReason", params: ({ event }) => ({ reason: event.error.message }) },
    },
  },
  initial: "preparing",
  states: {
    preparing: {
      invoke: { src: "prepare", input: ({ context }) => context },
      on: {
        "effect.done.prepare": {
          target: "listening",
          actions: [
            { type: "takeIdentity", params: ({ event }) => ({ identity: event.value }) },
            { type: "takeProblem", params: { problem: undefined } },
          ],
        },
        "effect.failed.prepare": [
          {
            guard: { type: "isOfPort", params: ({ event }) => event },
            target: "failed",
            actions: { type: "takeReason", params: ({ event }) => ({ reason: event.error.message }) },
          },
          {
            target: "waiting",
            actions: [
              { type: "takeProblem", params: ({ event }) => ({ problem: event.error.message }) },
              { type: "report", params: ({ event }) => ({ message: event.error.message }) },
            ],
          },
        ],
      },
    },
    waiting: { after: { retry: "preparing" } },
    listening: {
      invoke: {
        src: "listen",
        input: ({ context }) => ({ ...context, identity: present(context.identity, "the identity") }),
      },
      on: {
        "effect.failed.listen": {
          target: "failed",
          actions: { type: "takeReason", params: ({ event }) => ({ reason: event.error.message }) },
        },
      },
      initial: "opening",
      states: {
        opening: {
          on: {
            "effect.done.listen": {
              target: "awaitingSocket",
              actions: { type: "takePort", params: ({ event }) => ({ open: event.value }) },
            },
          },
        },
        // Who reads that the CA listens can ask it over its socket: both are open.
        awaitingSocket: { always: { guard: "isAdministrated", target: "serving", actions: "reportOpen" } },
        serving: { after: { maintenance: "maintaining" } },
        maintaining: {
          invoke: {
            src: "maintain",
            input: ({ context }) => ({ ...context, identity: present(context.identity, "the identity") }),
          },
          on: {
            "effect.done.maintain": {
              target: "serving",
              actions: [
                { type: "useIdentity", params: ({ event }) => ({ identity: event.value }) },
                {
                  type: "takeIdentity",
                  params: ({ event, context }) => ({
                    identity: event.value ?? present(context.identity, "the identity"),
                  }),
                },
              ],
            },
            "effect.failed.maintain": {
              target: "serving",
              actions: { type: "report", params: ({ event }) => ({ message: event.error.message }) },
            },
          },
        },
      },
    },
    failed: { type: "final" },
    stopped: { type: "final" },
  },
});
