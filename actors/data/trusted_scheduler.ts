/**
 * The schedulers whose grants a data node trusts: those that are established here, so that the gate has checked their
 * certificate, revocation and role. A scheduler that is not connected is dialled.
 *
 * @module
 */
import { Effect } from "effect";
import { standsFor } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { DialAnswer, PeersAnswer, PeerText, ReplyTo, TransportAsk } from "../../transport/port.ts";

/**
 * Finds a peer's verified identity; undefined for a peer that the gate refuses, or that cannot be reached. Of several members of
 * the PeerID it finds one that may be a scheduler.
 */
export type FindIdentity = (peer: PeerText) => Effect.Effect<PeerIdentity | undefined>;

/** Time limit of dial and handshake, in milliseconds. A scheduler that is not verified by then is not trusted. */
export const trustedSchedulerTimeoutMs = 10_000;

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
  return (peer) =>
    Effect.gen(function* () {
      const there = yield* established(peer);
      if (there !== undefined) return there;
      const { type } = yield* dial(peer);
      return type === "dial.done" ? yield* established(peer) : undefined;
    }).pipe(Effect.timeout(trustedSchedulerTimeoutMs), Effect.catch(() => Effect.succeed(undefined)));
}
