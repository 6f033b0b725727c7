/**
 * The publishers that answers to a look-up name, and which of them counts.
 *
 * An answer is a hint: any peer may name any publisher with any value. A publisher counts that gave its value itself. The order
 * among several is one that a peer which is no gateway cannot steer: those that most gateways name, then those that most
 * answers name, then by PeerID.
 *
 * @module
 */
import { sameBytes } from "../../pki/bytes.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText } from "../port.ts";

/** What one answer says. */
export interface Hint {
  readonly publisher: PeerText;
  readonly value: Uint8Array;
  /** It comes from a gateway, or this node keeps it itself. */
  readonly isTrusted: boolean;
}

/** A record that was found. */
export interface FoundRecord {
  readonly publisher: PeerText;
  readonly value: Uint8Array;
  /** What the publisher's certificate proved; undefined: it is this node. */
  readonly identity: PeerIdentity | undefined;
}

/**
 * What became of a publisher: `waiting` until it is asked, `asking`; it gave its value (`confirmed`); it does not speak the
 * protocol (`unsupported`); it may not publish, has no such record, or gave no answer (`rejected`).
 */
export type CandidateState =
  | { readonly type: "waiting" | "asking" | "rejected" }
  | { readonly type: "confirmed"; readonly value: Uint8Array; readonly identity: PeerIdentity | undefined }
  | { readonly type: "unsupported"; readonly identity: PeerIdentity };

/** A publisher that was named. */
export interface Candidate {
  readonly publisher: PeerText;
  /** How many answers name it, and how many of them are trusted. */
  hints: number;
  trusted: number;
  /** The values that answers give it. */
  readonly values: { readonly value: Uint8Array; hints: number }[];
  state: CandidateState;
  /** Whether it was asked again, because it lost its certificate or its right after its first answer. */
  isAskedAgain: boolean;
}

/** The publishers of one look-up. Each answer names at most one, so there are no more than answers. */
export class Candidates {
  readonly #all = new Map<PeerText, Candidate>();
  #hints = 0;

  /** Adds what an answer says. */
  add({ publisher, value, isTrusted }: Hint): void {
    const known = this.#all.get(publisher);
    const candidate: Candidate = known ??
      { publisher, hints: 0, trusted: 0, values: [], state: { type: "waiting" }, isAskedAgain: false };
    if (known === undefined) this.#all.set(publisher, candidate);
    this.#hints += 1;
    candidate.hints += 1;
    if (isTrusted) candidate.trusted += 1;
    const same = candidate.values.find((other) => sameBytes(other.value, value));
    if (same === undefined) candidate.values.push({ value, hints: 1 });
    else same.hints += 1;
  }

  /** The publishers, the one that counts first where it gives its value in front. */
  ranked(): readonly Candidate[] {
    return [...this.#all.values()].sort((a, b) =>
      b.trusted - a.trusted || b.hints - a.hints || (a.publisher < b.publisher ? -1 : 1)
    );
  }

  /** How many publishers are being asked. */
  get asking(): number {
    return this.#all.values().filter(({ state }) => state.type === "asking").toArray().length;
  }

  /**
   * The record that counts. `undecided`: a publisher that comes before all others which count is not through yet.
   *
   * @param isLate There is no more time: what is not through does not count, nor does a majority of some of the answers.
   */
  decide(isLate: boolean): FoundRecord | "missing" | "undecided" {
    for (const { publisher, state, values } of this.ranked()) {
      if (state.type === "confirmed") return { publisher, value: state.value, identity: state.identity };
      if (isLate || state.type === "rejected") continue;
      if (state.type !== "unsupported") return "undecided";
      // A publisher of the existing network: what more than half of all answers say of it.
      const majority = values.find(({ hints }) => 2 * hints > this.#hints);
      if (majority !== undefined) return { publisher, value: majority.value, identity: state.identity };
    }
    return "missing";
  }
}
