/**
 * Computes which peers a node may accept: from what the authorities did and what reached each disk, never from what a node
 * decided.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { expirySweepMs } from "../../transport/core/reverification.ts";
import { type Credential, peerOfCredential } from "./authority.ts";
import type { SimulatedNode } from "./node.ts";

/** A node has this long to act on new lists, in milliseconds. */
export const graceMs = 1_000;
/** The same where its disk reports no changes, or was in trouble: a poll and a second look are added. */
export const slowGraceMs = 12_000;

/** What the oracle knows of a certificate. */
export interface Standing {
  readonly credential: Credential;
  /** Why no node may ever accept it. */
  readonly never: string | undefined;
  /** Milliseconds since the epoch. */
  readonly notAfter: number;
  /** Number of the first list that revokes it, or its issuer. */
  revokedBy: number | undefined;
}

interface Lists {
  /** The newest list that the node must have read, after its time to read. */
  readonly number: number;
  /** When they reached the disk, or the process began. */
  readonly since: number;
  readonly slow: boolean;
  /** The newest list that it may have read. */
  readonly seen: number;
  readonly before: Lists | undefined;
}

/** When a node with these lists must act on them. */
const readBy = ({ since, slow }: Lists) => since + (slow ? slowGraceMs : graceMs);

/** Knows the truth about certificates. */
export class Oracle {
  readonly #byLeaf = new Map<string, Standing>();
  readonly #byPeer = new Map<string, Standing[]>();
  readonly #cache = new WeakMap<Uint8Array, Standing>();
  readonly #lists = new Map<string, Lists>();
  /** Nodes whose clock jumped, and when it did last. */
  readonly #jumped = new Map<string, number>();
  readonly excused = new Map<string, number>();
  /** The number of the newest list on any disk. */
  #newest = 0;

  /** Its clock is or was wrong: a peer that it accepted by another clock stays until the next sweep. */
  clockJumped(node: SimulatedNode, at: number): void {
    this.#jumped.set(node.name, at);
  }

  hasJumped(node: SimulatedNode): boolean {
    return this.#jumped.has(node.name);
  }

  know(credential: Credential, about: { readonly never?: string; readonly notAfter: number }): Standing {
    const standing: Standing = {
      credential,
      never: about.never,
      notAfter: about.notAfter,
      revokedBy: undefined,
    };
    this.#byLeaf.set(Buffer.from(credential.der).toString("base64"), standing);
    const peer = peerOfCredential(credential);
    this.#byPeer.set(peer, [...this.#byPeer.get(peer) ?? [], standing]);
    return standing;
  }

  standingOf(leaf: Uint8Array | undefined): Standing | undefined {
    if (leaf === undefined) return undefined;
    const cached = this.#cache.get(leaf);
    if (cached !== undefined) return cached;
    const found = this.#byLeaf.get(Buffer.from(leaf).toString("base64"));
    if (found !== undefined) this.#cache.set(leaf, found);
    return found;
  }

  /** A whole, valid list of this number reached a node's disk. From there it may travel. */
  listsCame(node: SimulatedNode, number: number, at: number, slow: boolean): void {
    this.#newest = Math.max(this.#newest, number);
    const before = this.#lists.get(node.name);
    const seen = Math.max(number, before?.seen ?? 0);
    if (before === undefined || before.number < number) {
      this.#lists.set(node.name, { number, since: at, slow, seen, before });
    } else if (number < before.number && before.before !== undefined && at < readBy(before)) {
      // An older list that was delayed replaced a newer one, before the node had to have read the newer.
      this.#lists.set(node.name, { ...before.before, seen });
    }
  }

  /**
   * A process began. `kept`: the number of the lists that an earlier one wrote into its state directory, 0 where it wrote
   * none. Those stay in force; the node may know or have forgotten others that it had read.
   */
  processBegan(node: SimulatedNode, { number, kept }: { readonly number: number; readonly kept: number }, at: number) {
    const newest = Math.max(number, kept);
    this.#newest = Math.max(this.#newest, newest);
    const seen = Math.max(newest, this.#lists.get(node.name)?.seen ?? 0);
    this.#lists.set(node.name, { number: newest, since: at, slow: true, seen, before: undefined });
  }

  /** The node is not held to its lists until then: its disk is in trouble. */
  excuse(node: SimulatedNode, until: number): void {
    this.excused.set(node.name, Math.max(until, this.excused.get(node.name) ?? 0));
  }

  isExcused(node: SimulatedNode, at: number): boolean {
    return (this.excused.get(node.name) ?? 0) > at;
  }

  /** Why this node must not accept the certificate now; undefined where it may, or where the oracle cannot tell. */
  mustRefuse(node: SimulatedNode, standing: Standing | undefined, at: number): string | undefined {
    if (standing === undefined) return "no authority issued its certificate";
    if (standing.never !== undefined) return standing.never;
    if (this.isExcused(node, at)) return undefined;
    if (this.#mustExpire(node, standing, at)) return "its certificate has expired";
    const lists = this.#lists.get(node.name);
    if (lists === undefined || standing.revokedBy === undefined || lists.number < standing.revokedBy) return undefined;
    return at > readBy(lists) ? "its certificate is revoked" : undefined;
  }

  /** Whether the certificate ended by the node's own clock, and the node had its time to see that. */
  #mustExpire(node: SimulatedNode, { notAfter }: Standing, at: number): boolean {
    const jumpedAt = this.#jumped.get(node.name);
    if (jumpedAt === undefined) return at > notAfter + graceMs;
    const sweptMs = expirySweepMs + graceMs;
    return at + node.skewMs > notAfter + sweptMs && at > jumpedAt + sweptMs;
  }

  /** Why this node must not accept any certificate of a PeerID; undefined where it may accept one. */
  mustRefusePeer(node: SimulatedNode, peer: string, at: number): string | undefined {
    const standings = this.#byPeer.get(peer) ?? [undefined];
    const reasons = standings.map((standing) => this.mustRefuse(node, standing, at));
    return reasons.includes(undefined) ? undefined : reasons[0];
  }

  /** Whether a node can have a reason to refuse every certificate of a PeerID. */
  mayRefusePeer(node: SimulatedNode, peer: string, at: number): boolean {
    return (this.#byPeer.get(peer) ?? []).every((standing) => this.mayRefuse(node, standing, at));
  }

  /** The certificates of a PeerID. */
  credentialsOf(peer: string): readonly Credential[] {
    return (this.#byPeer.get(peer) ?? []).map(({ credential }) => credential);
  }

  /** The names that the certificates of a PeerID carry. */
  namesOf(peer: string): readonly string[] {
    return (this.#byPeer.get(peer) ?? []).map(({ credential }) => credential.name);
  }

  /** Whether a node can have a reason to refuse the certificate. */
  mayRefuse(node: SimulatedNode, standing: Standing | undefined, at: number): boolean {
    if (standing === undefined || standing.never !== undefined || this.isExcused(node, at)) return true;
    if (at >= standing.notAfter - 1_000 || this.#jumped.has(node.name)) return true;
    // Peers bring lists before they reach the disk.
    const seen = Math.max(this.#lists.get(node.name)?.seen ?? Infinity, this.#newest);
    return standing.revokedBy !== undefined && seen >= standing.revokedBy;
  }
}
