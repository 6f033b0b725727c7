/**
 * Whose grants a data node believes: a scheduler that is established here, which its certificate, revocation lists and role
 * have gone through the gate for. One that is not connected is dialled.
 *
 * @module
 */
import { Effect } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { DialAnswer, PeersAnswer, PeerText, ReplyTo, TransportAsk } from "../../transport/port.ts";

/** Finds what a peer's certificate proved here; undefined for a peer that the gate does not let in, or that is not there. */
export type FindIdentity = (peer: PeerText) => Effect.Effect<PeerIdentity | undefined>;

/** Dialling and its handshake; whoever cannot be verified by then counts as nobody. In milliseconds. */
export const trustedSchedulerTimeoutMs = 10_000;

/** Over a transport actor: only `send` is used. */
export function findIdentityBy(transport: ReplyTo<TransportAsk>, uuid: () => string): FindIdentity {
  const established = (peer: PeerText) =>
    Effect.map(
      Effect.callback<PeersAnswer>((resume) => {
        transport.send({ type: "peers", replyTo: { send: (answer) => resume(Effect.succeed(answer)) } });
      }),
      ({ list }) => list.find((there) => there.peer === peer)?.identity,
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
