/**
 * What a member's acts cost this node: a table of measured prices. JavaScript cannot attribute processor time across `await`, so
 * work is charged by price, before it is done (`work_budget.ts`). `tests/network/prices.test.ts` holds the prices to what the
 * process really spends.
 *
 * @module
 */

/** A price in microseconds of one core: for one piece of work, and for each KiB of it. */
export interface Price {
  readonly eachUs: number;
  readonly perKibUs: number;
}

/** Measured on one core at about 3 GHz, with Node.js 24. */
export const prices = {
  /** Octets of a stream that was not requested: decrypted, collected. */
  "bytes": { eachUs: 0, perKibUs: 1 },
  /** A frame that opens a stream. */
  "frame.opening": { eachUs: 100, perKibUs: 0 },
  /** A stream that the peer opened: its protocol is agreed on, it is read, ended and forgotten. */
  "stream": { eachUs: 200, perKibUs: 0 },
  /** A ping of the multiplexer is answered. */
  "frame.ping": { eachUs: 20, perKibUs: 0 },
  /** A window update, or a small piece of data. */
  "frame.small": { eachUs: 10, perKibUs: 0 },
  /** A request that has arrived whole: decoded, handed to the node, answered. */
  "request": { eachUs: 400, perKibUs: 10 },
  /** An item of CBOR in it, and a PeerID, whose text is base58: paid once they are decoded. */
  "request.item": { eachUs: 0.3, perKibUs: 0 },
  "request.peer": { eachUs: 7, perKibUs: 0 },
  /** An answer about revocation lists: a piece is read from its file, encoded and sent. */
  "crl": { eachUs: 200, perKibUs: 2 },
  /** A proof of an audit log: two blocks of records are read. */
  "audit": { eachUs: 11_000, perKibUs: 10 },
  /** The states of audit logs that a witness sends: the signatures of at most 16 checkpoints are verified. */
  "audit.heads": { eachUs: 2_800, perKibUs: 10 },
  /** A message of Kademlia: decoded and answered. */
  "kad": { eachUs: 120, perKibUs: 10 },
  /** A peer in an answer of Kademlia: found in the routing table, its addresses read and encoded. */
  "kad.peer": { eachUs: 100, perKibUs: 0 },
  /** The signature of a message of gossip. */
  "gossip.verify": { eachUs: 270, perKibUs: 10 },
  /** A message of gossip: decoded, its author looked up, handed on. */
  "gossip": { eachUs: 50, perKibUs: 10 },
  /** One entry of gossip's control messages or subscriptions. */
  "gossip.control": { eachUs: 20, perKibUs: 0 },
  /** An identify message that a peer asks for, made and signed. */
  "identify": { eachUs: 600, perKibUs: 0 },
  /** An identify message that a peer pushes: a signature is verified, the peer store written. */
  "push": { eachUs: 1_700, perKibUs: 0 },
  /** A stream of the ping protocol. */
  "ping": { eachUs: 200, perKibUs: 0 },
  /** A reservation at this relay, a circuit through it, or one that a relay brings. */
  "relay": { eachUs: 900, perKibUs: 0 },
  /** An attempt to make a relayed connection direct. */
  "dcutr": { eachUs: 500, perKibUs: 0 },
} as const satisfies Readonly<Record<string, Price>>;

/** A kind of work. */
export type Work = keyof typeof prices;

/** What a piece of work costs, in microseconds. Virtual time charges the same: a run replays. */
export function priceOf(work: Work, bytes = 0): number {
  const { eachUs, perKibUs } = prices[work];
  return eachUs + perKibUs * bytes / 1_024;
}
