/**
 * The refusal that a failed dial of libp2p amounts to, where no gate of this node refused it.
 *
 * @module
 */
import { HandshakeTimeout, HungUp, ProtocolMismatch, type Refusal, Unreachable } from "../../pki/refusal.ts";

/** A relay's status while it carries as many circuits as it may. */
const relayBusy = "RESOURCE_LIMIT_EXCEEDED";

/** PeerIDs in libp2p's texts: letters of theirs may spell a word that is looked for. */
const peerIds = /[1-9A-HJ-NP-Za-km-z]{40,}/g;

const detailMax = 200;
const messageOf = (error: unknown) => error instanceof Error ? error.message : String(error);

/**
 * Names the refusal. Of several addresses the last error counts, unless a relay has no room: trying again helps then.
 *
 * @param afterMs How long the dial took, in milliseconds.
 */
export function refusalOfDialError(error: unknown, afterMs: number): Refusal {
  const errors: readonly unknown[] = error instanceof AggregateError ? error.errors : [];
  const last = errors.find((each) => messageOf(each).includes(relayBusy)) ?? errors.at(-1) ?? error;
  const detail = messageOf(last).slice(0, detailMax);
  const words = messageOf(last).replaceAll(peerIds, "").slice(0, detailMax);
  const name = last instanceof Error ? last.name : "";
  if (/^(TimeoutError|AbortError)$/.test(name)) {
    return /connect|ECONN/i.test(words)
      ? new Unreachable({ detail })
      : new HandshakeTimeout({ state: "dialling", afterMs });
  }
  // Reset as soon as it was accepted: a node is there. libp2p may not even have learnt the address of the other end.
  if (/ECONNRESET|EPIPE|Could not determine remote address/i.test(words)) return new HungUp({ detail });
  if (/ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EADDRNOTAVAIL|connection error/i.test(words)) {
    return new Unreachable({ detail });
  }
  if (/newline|data length|protocol selection failed|multistream/i.test(words)) {
    return new ProtocolMismatch({ detail });
  }
  if (/eof|closed|ended/i.test(words)) return new HungUp({ detail });
  return new Unreachable({ detail });
}
