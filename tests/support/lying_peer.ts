/**
 * Peers of the DHT without a core: liars that answer look-ups with forged records, and data nodes of the existing network,
 * which do not speak `/hypha-record/1`.
 *
 * @module
 */
import { answering, multihashOf } from "../../actors/simulation/forged_records.ts";
import type { HostilePeer } from "../../actors/simulation/hostile_peer.ts";
import { prefixLength } from "../../transport/core/length_prefixed.ts";
import { kadProtocol, type WireConnection } from "../../transport/core/wire.ts";
import type { PeerText } from "../../transport/port.ts";
import { encodeKadMessage, type KadMessage } from "../../transport/protocols/kad_record.ts";
import { recordProtocol } from "../../transport/protocols/record_message.ts";

/** What a liar says of each key. */
export interface Lie {
  readonly publisher: PeerText;
  readonly value: string;
}

/** A peer that answers look-ups with lies. */
export interface LyingPeer {
  /** Look-ups that it answered. */
  answered: number;
  /** Questions for its own record, which it leaves without an answer. */
  asked: number;
  lie: Lie;
}

/** Makes a peer take part in the DHT and lie. `isMute`: it takes questions for its own record, and never answers them. */
export function lying(hostile: HostilePeer, lie: Lie, { isMute = false } = {}): LyingPeer {
  const liar: LyingPeer = { answered: 0, asked: 0, lie };
  hostile.wire.serve(kadProtocol);
  if (isMute) hostile.wire.serve(recordProtocol);
  hostile.wire.serveDht(true);
  hostile.onOffered = (_, stream) => {
    if (stream.protocol === kadProtocol) {
      return answering(stream, ({ type, key }) => {
        if (type !== "GET_VALUE" || key === undefined) return { type, closer: [], providers: [] };
        liar.answered += 1;
        const { publisher, value } = liar.lie;
        const record = { key, value: new TextEncoder().encode(value), publisher: multihashOf(publisher) };
        return { type, key, record, closer: [], providers: [] };
      });
    }
    if (stream.protocol === recordProtocol) liar.asked += 1;
    return undefined;
  };
  return liar;
}

/** Puts a record of the peer's own, as a data node of the existing network does. Says whether it was taken. */
export function putRecord(
  hostile: HostilePeer,
  connection: WireConnection,
  { key, value }: { readonly key: string; readonly value: string },
): Promise<boolean> {
  const bytes = new TextEncoder().encode(key);
  const record = {
    key: bytes,
    value: new TextEncoder().encode(value),
    publisher: multihashOf(hostile.identity.peer),
  };
  const message: KadMessage = { type: "PUT_VALUE", key: bytes, record, closer: [], providers: [] };
  return new Promise((resolve) =>
    hostile.exchange(
      connection,
      kadProtocol,
      prefixLength(encodeKadMessage(message)),
      ({ bytes: answer }) => resolve(answer.length > 0),
    )
  );
}
