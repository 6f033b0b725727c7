/**
 * Why own dials were refused by our gates: a wire knows only that its connection ended.
 *
 * @module
 */
import { PeerIdMismatch, type Refusal } from "../../pki/refusal.ts";
import type { AddressText, Gate, PeerText } from "../port.ts";
import { withoutPeer } from "./addresses.ts";
import type { WireConnection } from "./wire.ts";

/** Refusals that are remembered, to answer the asker of the dial. */
export const dialRefusalsMax = 256;

/** What a dial was for: its refusals are found by this. */
export interface DialedTarget {
  readonly peer?: PeerText;
  readonly address?: AddressText;
}

/** The part of a connection that names its target. */
type Dialed = Pick<WireConnection, "address" | "expectedPeer">;

/** Refusals of connections that this node dialled, the newest last. */
export class DialRefusals {
  readonly #refusals: (Dialed & { readonly sequence: number; readonly refusal: Refusal })[] = [];
  #sequence = 0;

  /** Marks a point in time: refusals from here on are found by {@linkcode DialRefusals.since}. */
  mark(): number {
    return this.#sequence;
  }

  /**
   * Remembers a refusal; the oldest is forgotten. Where the certificate is not that of the peer that was dialled, it is remembered that another
   * peer answered: what its certificate lacks says nothing about the peer.
   */
  add({ address, expectedPeer }: Dialed, refused: Refusal, presented: Gate["presented"]): void {
    const isOther = expectedPeer !== undefined && presented !== undefined && presented.id !== expectedPeer;
    const refusal = isOther ? new PeerIdMismatch({ expected: expectedPeer, actual: presented.id }) : refused;
    this.#refusals.push({ sequence: this.#sequence++, address, expectedPeer, refusal });
    if (this.#refusals.length > dialRefusalsMax) this.#refusals.shift();
  }

  /** The newest refusal of a dial to this peer or address since `mark`. */
  since(mark: number, target: DialedTarget): Refusal | undefined {
    return this.#refusals.findLast((one) => one.sequence >= mark && isFor(one, target))?.refusal;
  }
}

/** Whether a connection was dialled for this target. */
export function isFor({ address, expectedPeer }: Dialed, target: DialedTarget): boolean {
  return (target.peer !== undefined && target.peer === expectedPeer) ||
    (target.address !== undefined && withoutPeer(target.address) === withoutPeer(address));
}
