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
 * Finds a peer's verified identity; undefined for a peer whose certificate the gate refuses. It fails where the peer is not reached, which
 * says nothing about the peer. Of several members of the PeerID it finds one that may be a scheduler.
 */
export type FindIdentity = (peer: PeerText) => Effect.Effect<PeerIdentity | undefined, TransportError>;

/** Time limit of dial and handshake, in milliseconds. A scheduler that is not verified by then is not trusted. */
export const trustedSchedulerTimeoutMs = 10_000;

/**
 * Refusals of the certificate of the peer that was dialled (`peer-id-mismatch`: another one answered). Every other refusal of a dial says
 * nothing about the peer, or may be over in a while: lists that ended here, a clock that is behind.
 */
const finalCodes: readonly RefusalCode[] = [
  "self-signed",
  "unknown-issuer",
  "bad-signature",
  "path-too-long",
  "not-a-ca",
  "key-usage",
  "extended-key-usage",
  "name-constraint",
  "unknown-critical-extension",
  "certificate-expired",
  "certificate-revoked",
  "role-not-allowed",
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
        return finalCodes.includes(code) ? undefined : yield* unreached("not-connected", message);
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
