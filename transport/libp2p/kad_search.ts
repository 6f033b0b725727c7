/**
 * The DHT of a libp2p node: its searches, and the answers that need no record.
 *
 * @module
 */
import type { KadDHT } from "@libp2p/kad-dht";
import type { Libp2p, PeerId } from "@libp2p/interface";
import { Result } from "effect";
import { type GiveUp, kadProtocol, type WireListener } from "../core/wire.ts";
import { type AddressText, type PeerText, TransportError } from "../port.ts";
import type { KadMessage, KadPeer } from "../protocols/kad_record.ts";
import type { KadDhtMessage, KadInternals } from "./node_internals.ts";

/** What {@linkcode answerKad} reports. `undefined`: the message has no answer. */
export type KadAnswer = Result.Result<KadMessage | undefined, TransportError>;

/** Searches the DHT for the peers closest to a key. A search that breaks off reports what it found. */
export function searchClosest(
  { dht, self, key }: { readonly dht: KadDHT; readonly self: PeerText; readonly key: Uint8Array },
  done: (peers: readonly PeerText[]) => void,
): GiveUp {
  const controller = new AbortController();
  const { signal } = controller;
  const found = new Set<PeerText>();
  const search = async () => {
    for await (const event of dht.getClosestPeers(key, { signal })) {
      if (event.name === "FINAL_PEER") found.add(event.peer.id.toString());
    }
  };
  const over = () => {
    found.delete(self);
    if (!signal.aborted) done([...found]);
  };
  search().then(over, over);
  return () => controller.abort(new Error("the search was given up"));
}

/** Searches the DHT for a peer. `found` receives the addresses of each answer that knows it. */
export function searchPeer(
  { dht, peer }: { readonly dht: Pick<KadDHT, "findPeer">; readonly peer: PeerId },
  found: (addresses: readonly AddressText[]) => void,
  done: () => void,
): GiveUp {
  const controller = new AbortController();
  const { signal } = controller;
  const search = async () => {
    for await (const event of dht.findPeer(peer, { signal, useCache: false })) {
      if (signal.aborted) return;
      if (event.name === "FINAL_PEER") found(event.peer.multiaddrs.map((address) => address.toString()));
    }
  };
  const over = () => {
    if (!signal.aborted) done();
  };
  search().then(over, over);
  return () => controller.abort(new Error("the search was given up"));
}

/** Whether a connected peer serves the DHT: identify named it among the peer's protocols, and its certificate allows it. */
export async function servesDht({ libp2p, listener, peer }: {
  readonly libp2p: Pick<Libp2p, "peerStore">;
  readonly listener: Pick<WireListener, "mayServeDht">;
  readonly peer: PeerId;
}): Promise<boolean> {
  const known = await libp2p.peerStore.get(peer).catch(() => undefined);
  return known?.protocols.includes(kadProtocol) === true && listener.mayServeDht(peer.toString());
}

/** Answers a peer's message with the DHT's own handlers. Neither a record nor a provider is taken. */
export function answerKad(
  { kad, peer, message }: { readonly kad: KadInternals; readonly peer: PeerId; readonly message: KadMessage },
  done: (answer: KadAnswer) => void,
): void {
  answer(kad, peer, message).then(
    (answered) => done(Result.succeed(answered)),
    (error) => {
      const detail = (error instanceof Error ? error.message : String(error)).slice(0, 200);
      done(Result.fail(new TransportError({ code: "failed", detail })));
    },
  );
}

async function answer(kad: KadInternals, peer: PeerId, message: KadMessage): Promise<KadMessage | undefined> {
  const { type, key, clusterLevel } = message;
  switch (type) {
    case "PING":
      return { type, closer: [], providers: [] }; // not its content: peers in an answer cost this node time
    case "GET_VALUE": {
      if (key === undefined || key.byteLength === 0) throw new Error("a question without a key");
      const closest = await kad.closestPeersOffline(key);
      const closer = closest.map(({ id, multiaddrs }): KadPeer => ({
        id: id.toMultihash().bytes,
        addresses: multiaddrs.map(({ bytes }) => bytes),
      }));
      return { type, key, closer, providers: [], ...(clusterLevel === undefined ? {} : { clusterLevel }) };
    }
    case "ADD_PROVIDER":
      // Nodes of this network publish no providers, and the library keeps as many as a peer sends, whatever their size.
      return undefined;
    case "PUT_VALUE":
      throw new Error("a record is not answered here");
    default: {
      const answered = await kad.handlers[type]?.handle(peer, toLibrary(message));
      return answered === undefined ? undefined : fromLibrary(answered, type);
    }
  }
}

function toLibrary({ type, key, clusterLevel, closer, providers }: KadMessage): KadDhtMessage {
  const peers = (list: readonly KadPeer[]) => list.map(({ id, addresses }) => ({ id, multiaddrs: [...addresses] }));
  return {
    type,
    ...(clusterLevel === undefined ? {} : { clusterLevel }),
    ...(key === undefined ? {} : { key }),
    closer: peers(closer),
    providers: peers(providers),
  };
}

function fromLibrary({ key, clusterLevel, closer, providers }: KadDhtMessage, type: KadMessage["type"]): KadMessage {
  const peers = (list: KadDhtMessage["closer"]) => list.map(({ id, multiaddrs }) => ({ id, addresses: multiaddrs }));
  return {
    type,
    ...(clusterLevel === undefined ? {} : { clusterLevel }),
    ...(key === undefined ? {} : { key }),
    closer: peers(closer),
    providers: peers(providers),
  };
}
