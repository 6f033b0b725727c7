/**
 * The schedulers whose grants a data node trusts: those that are established here, so that the gate has checked their
 * certificate, revocation and role. A scheduler that is not connected is dialled.
 *
 * @module
 */
import { Effect } from "effect";
import { standsFor } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { RefusalCode } from "../../pki/refusal.ts";
import {
  type DialAnswer,
  type PeersAnswer,
  type PeerText,
  type ReplyTo,
  type TransportAsk,
  TransportError,
} from "../../transport/port.ts";

/**
 * Finds a peer's verified identity; undefined for a peer that the gate refuses. It fails where the peer is not reached, which says nothing
 * about the peer. Of several members of the PeerID it finds one that may be a scheduler.
 */
export type FindIdentity = (peer: PeerText) => Effect.Effect<PeerIdentity | undefined, TransportError>;

/** Time limit of dial and handshake, in milliseconds. A scheduler that is not verified by then is not trusted. */
export const trustedSchedulerTimeoutMs = 10_000;

/** Refusals of a dial in which the gate has judged no certificate of the peer: another node may listen at its address. */
const unreachedCodes: readonly RefusalCode[] = [
  "unreachable",
  "hung-up",
  "handshake-timeout",
  "too-many-connections",
  "rate-limited",
  "protocol-mismatch",
  "tls-version",
  "tls-failed",
  "no-certificate",
  "peer-id-mismatch",
  "internal",
];

/** Finds identities over a transport actor, of which only `send` is used. */
export function findIdentityBy(transport: ReplyTo<TransportAsk>, uuid: () => string): FindIdentity {
  const established = (peer: PeerText) =>
    Effect.map(
      Effect.callback<PeersAnswer>((resume) => {
        transport.send({ type: "peers", replyTo: { send: (answer) => resume(Effect.succeed(answer)) } });
      }),
      ({ list }) => {
        const members = list.filter((there) => there.peer === peer).map(({ identity }) => identity);
        return members.find(({ role }) => standsFor(role, "scheduler")) ?? members[0];
      },
    );
  const dial = (peer: PeerText) =>
    Effect.callback<DialAnswer>((resume) => {
      transport.send({
        type: "dial",
        id: uuid(),
        target: { peer },
        replyTo: { send: (answer) => resume(Effect.succeed(answer)) },
      });
    });
  return (peer) => {
    const unreached = (code: TransportError["code"], why: string) =>
      Effect.fail(
        new TransportError({ code, detail: `scheduler ${peer}, which granted it, is not reached: ${why}` }),
      );
    return Effect.gen(function* () {
      const there = yield* established(peer);
      if (there !== undefined) return there;
      const dialled = yield* dial(peer);
      if (dialled.type === "dial.failed") {
        const { code, message } = dialled.refusal;
        return unreachedCodes.includes(code) ? yield* unreached("not-connected", message) : undefined;
      }
      const identity = yield* established(peer);
      return identity ?? (yield* unreached("not-connected", "its connection was lost at once"));
    }).pipe(
      Effect.timeout(trustedSchedulerTimeoutMs),
      Effect.catchTag(
        "TimeoutError",
        () => unreached("timed-out", `not verified within ${trustedSchedulerTimeoutMs / 1_000} s`),
      ),
    );
  };
}
