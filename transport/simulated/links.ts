/**
 * The gated connections of one simulated node: the handshake's steps, each told to the gate, and who is established.
 *
 * @module
 */
import { Result } from "effect";
import {
  HandshakeTimeout,
  HungUp,
  type Refusal,
  TlsFailed,
  TooManyConnections,
  Unreachable,
} from "../../pki/refusal.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { Admission, type Admitted } from "../core/admission.ts";
import type {
  AddressText,
  CloseReason,
  Gate,
  GateSaid,
  NodeIdentity,
  PeerText,
  TransportFact,
  TransportInput,
} from "../port.ts";
import { type HandshakeFrame, isHandshake, type OpenFrame } from "./frames.ts";
import type { Frame, WireClosed, WireEnd } from "./network.ts";
import { provesPossession } from "./possession.ts";
import type { SimulatedHost } from "./simulated.ts";

/** The multiplexer is agreed on within this, in milliseconds (libp2p's own limit). */
const openingMs = 10_000;
/** Gates that are re-checked in one turn, as the real transport does. */
const reverifySlice = 16;

/** A connection with its gate. */
export interface GatedLink {
  readonly end: WireEnd;
  readonly gate: Gate;
  readonly direction: "inbound" | "outbound";
  readonly address: AddressText;
  readonly admitted: Admitted | undefined;
  /** The generation of our own pair that the peer is shown. */
  generation: number;
  /** When it began, in the network's time. */
  readonly bornAt: number;
  /** What the other end's certificate says, whether or not it may. */
  chain: readonly Uint8Array[];
  established: boolean;
  ended: boolean;
  /** Whoever dialled, once: established, or refused. */
  settle: ((refusal: Refusal | undefined) => void) | undefined;
}

/** What the connections tell the rest of the transport. */
export interface LinksInit {
  readonly host: SimulatedHost;
  readonly input: TransportInput;
  readonly identity: () => NodeIdentity;
  readonly snapshot: () => TrustSnapshot;
  /** Whether the transport was drained: a dial that was under way then opens nothing any more. */
  readonly isOver: () => boolean;
  readonly tell: (fact: TransportFact) => void;
  readonly opened: (link: GatedLink, peer: PeerText) => void;
  readonly closed: (link: GatedLink, peer: PeerText) => void;
  readonly heard: (link: GatedLink, peer: PeerText, identity: PeerIdentity, frame: OpenFrame) => void;
}

/** All connections of a node. */
export class Links {
  readonly #init: LinksInit;
  readonly #links = new Set<GatedLink>();
  readonly #peers = new Map<PeerText, { readonly identity: PeerIdentity; readonly links: Set<GatedLink> }>();
  readonly #admission: Admission;
  #accepted = 0;

  constructor(init: LinksInit) {
    this.#init = init;
    this.#admission = new Admission(init.input.limits);
  }

  get accepted(): number {
    return this.#accepted;
  }

  /** Every connection, for whoever looks on. */
  all(): IterableIterator<GatedLink> {
    return this.#links.values();
  }

  /** Connections, in every phase. */
  get size(): number {
    return this.#links.size;
  }

  list(): { readonly peer: PeerText; readonly identity: PeerIdentity }[] {
    return [...this.#peers].map(([peer, { identity }]) => ({ peer, identity }));
  }

  identityOf(peer: PeerText): PeerIdentity | undefined {
    return this.#peers.get(peer)?.identity;
  }

  /** The oldest established connection of a peer. */
  best(peer: PeerText): GatedLink | undefined {
    for (const link of this.#peers.get(peer)?.links ?? []) return link;
    return undefined;
  }

  /** The first link of each established peer. */
  *each(): IterableIterator<[PeerText, GatedLink]> {
    for (const [peer, { links }] of this.#peers) {
      for (const link of links) {
        yield [peer, link];
        break;
      }
    }
  }

  /** An established connection that was dialled at this address. */
  at(address: AddressText): { readonly peer: PeerText } | undefined {
    for (const [peer, { links }] of this.#peers) {
      for (const link of links) if (link.address === address) return { peer };
    }
    return undefined;
  }

  /** Somebody dialled us. */
  accept(end: WireEnd, from: AddressText): void {
    const { input } = this.#init;
    const admission: Result.Result<Admitted, Refusal> = this.#admission.admit(from, input.now());
    const admitted = Result.isSuccess(admission) ? admission.success : undefined;
    this.#birth(end, { direction: "inbound", address: from, expectedPeer: undefined, admission, admitted });
  }

  /** Dials; `settle` is called once. */
  dial(
    address: AddressText,
    expectedPeer: PeerText | undefined,
    settle: (outcome: Result.Result<PeerText, Refusal>) => void,
  ): void {
    const { host } = this.#init;
    host.network.dial(host.name, host.address, address, (end, why) => {
      if (host.stopped) return end?.close("the node stopped");
      if (this.#init.isOver()) {
        end?.close("the transport was drained");
        return settle(Result.fail(new HungUp({ detail: "the transport was drained" })));
      }
      if (end === undefined) return settle(Result.fail(new Unreachable({ detail: why })));
      const admission = Result.succeed(undefined);
      const link = this.#birth(end, { direction: "outbound", address, expectedPeer, admission, admitted: undefined });
      link.settle = (refusal) =>
        settle(
          refusal === undefined ? Result.succeed(link.gate.identity?.peer as PeerText) : Result.fail(refusal),
        );
      if (link.ended) return this.#settle(link, new HungUp({ detail: "the connection ended" }));
      end.send({ type: "hello" });
      link.gate.send({ type: "connection.securing" });
    });
  }

  #birth(
    end: WireEnd,
    about: Pick<GatedLink, "direction" | "address" | "admitted"> & {
      readonly expectedPeer: PeerText | undefined;
      readonly admission: Result.Result<unknown, Refusal>;
    },
  ): GatedLink {
    const { input, snapshot, identity } = this.#init;
    const own = identity();
    const { direction, address, admitted, expectedPeer, admission } = about;
    const gate = input.makeGate({
      id: input.uuid(),
      direction,
      address,
      expectedPeer,
      admission,
      snapshot: snapshot(),
      own,
      deadlineMs: input.handshakeTimeoutMs,
    });
    const link: GatedLink = {
      end,
      gate,
      direction,
      address,
      admitted,
      generation: own.generation,
      bornAt: this.#init.host.network.time.now,
      chain: [],
      established: false,
      ended: false,
      settle: undefined,
    };
    this.#links.add(link);
    gate.listen((said) => this.#said(link, said));
    end.onFrame = (frame) => this.#heard(link, frame);
    end.onClosed = (closed) => this.#ended(link, closed);
    if (gate.phase === "refused" && gate.refusal !== undefined) {
      this.#said(link, { type: "gate.refused", refusal: gate.refusal });
    }
    return link;
  }

  #heard(link: GatedLink, frame: Frame): void {
    const { gate } = link;
    if (isHandshake(frame)) return this.#step(link, frame);
    const { identity } = gate;
    // A frame that comes before the multiplexer is agreed on, or after the gate closed, reaches nobody.
    if (!link.established || gate.phase !== "established" || identity === undefined) return;
    this.#init.heard(link, identity.peer, identity, frame as OpenFrame);
  }

  #step(link: GatedLink, frame: HandshakeFrame): void {
    const { gate, end, direction } = link;
    switch (frame.type) {
      case "hello":
        if (direction !== "inbound" || gate.phase !== "admitting") return;
        gate.send({ type: "connection.securing" });
        return this.#present(link);
      case "certificate":
        return this.#secured(link, frame);
      case "muxer":
        if (direction !== "outbound" || gate.phase !== "opening") return;
        end.send({ type: "muxer.agreed" });
        return this.#open(link);
      case "muxer.agreed":
        if (direction === "inbound" && gate.phase === "opening") this.#open(link);
    }
  }

  #present(link: GatedLink): void {
    const { end } = link;
    const identity = this.#init.identity();
    link.generation = identity.generation;
    end.send({
      type: "certificate",
      version: "TLSv1.3",
      chain: identity.chain,
      proven: provesPossession(identity),
    } as HandshakeFrame);
  }

  #secured(link: GatedLink, frame: Extract<HandshakeFrame, { type: "certificate" }>): void {
    const { gate, end, direction } = link;
    if (gate.phase !== "securing") return;
    link.chain = frame.chain;
    if (!frame.proven) {
      return gate.send({ type: "tls.failed", refusal: new TlsFailed({ detail: "the peer did not prove its key" }) });
    }
    gate.send({ type: "tls.secured", version: frame.version, chain: frame.chain });
    if (phaseNow(gate) !== "opening") return;
    if (direction === "outbound") this.#present(link);
    else end.send({ type: "muxer" });
    this.#init.host.clock.after(openingMs, () => {
      if (link.ended || gate.phase !== "opening") return;
      gate.send({
        type: "opening.failed",
        refusal: new HandshakeTimeout({ state: "waiting for the multiplexer", afterMs: openingMs }),
      });
    });
  }

  #open(link: GatedLink): void {
    const { gate } = link;
    const { identity } = gate;
    if (identity === undefined) return;
    const max = this.#init.input.limits.connectionsPerPeerMax;
    const known = this.#peers.get(identity.peer);
    if ((known?.links.size ?? 0) >= max) {
      const refusal = new TooManyConnections({ limit: "connections of one peer", max });
      return gate.send({ type: "opening.failed", refusal });
    }
    gate.send({ type: "connection.opened" });
    if (phaseNow(gate) !== "established") return;
    link.established = true;
    link.admitted?.opened();
    this.#accepted += 1;
    if (known === undefined) {
      this.#peers.set(identity.peer, { identity, links: new Set([link]) });
      this.#init.tell({ type: "peer.established", peer: identity.peer, identity });
    } else known.links.add(link);
    this.#init.opened(link, identity.peer);
    this.#settle(link, undefined);
  }

  #said(link: GatedLink, said: GateSaid): void {
    if (said.type === "gate.refused") {
      this.#refused(link, said.refusal);
      this.#closeSoon(link, "refused");
    } else if (said.type === "gate.closed") {
      const { identity } = link.gate;
      if (identity !== undefined && link.established) this.#left(link, identity, said.reason);
      else if ("refusal" in said.reason) this.#refused(link, said.reason.refusal);
      this.#closeSoon(link, said.reason.type);
    }
  }

  #refused(link: GatedLink, refusal: Refusal): void {
    const { direction, address, gate: { identity, presented } } = link;
    const peer = identity === undefined ? presented : { name: identity.name, id: identity.peer };
    this.#init.tell({ type: "peer.refused", address, direction, peer, refusal });
    this.#settle(link, refusal);
  }

  #left(link: GatedLink, identity: PeerIdentity, reason: CloseReason): void {
    const entry = this.#peers.get(identity.peer);
    if (entry?.links.delete(link) !== true) return;
    link.established = false;
    this.#init.closed(link, identity.peer);
    if (entry.links.size > 0) return;
    this.#peers.delete(identity.peer);
    this.#init.tell({ type: "peer.closed", peer: identity.peer, identity, reason });
  }

  #settle(link: GatedLink, refusal: Refusal | undefined): void {
    const { settle } = link;
    link.settle = undefined;
    settle?.(refusal);
  }

  /** After this turn: whoever sent the event that ended the gate reads its phase first. */
  #closeSoon(link: GatedLink, why: string): void {
    this.#init.host.clock.after(0, () => link.end.close(why));
  }

  #ended(link: GatedLink, { by, detail }: WireClosed): void {
    if (link.ended) return;
    link.ended = true;
    const { gate } = link;
    if (gate.phase === "established") gate.send({ type: "connection.closed", by, detail });
    else if (gate.phase === "opening") gate.send({ type: "opening.failed", refusal: new HungUp({ detail }) });
    else if (gate.phase !== "refused" && gate.phase !== "closed") {
      gate.send({ type: "tls.failed", refusal: new HungUp({ detail }) });
    }
    this.#links.delete(link);
    link.admitted?.release();
    this.#settle(link, new HungUp({ detail }));
    gate.stop();
  }

  close(peer: PeerText, reason: string): void {
    for (const { gate } of [...this.#peers.get(peer)?.links ?? []]) gate.send({ type: "close", reason });
  }

  /** Ends the established connections on which nothing is under way; how many are left. */
  closeIdle(isBusy: (link: GatedLink) => boolean, reason: string): number {
    let busy = 0;
    for (const link of [...this.#links].filter(({ established }) => established)) {
      if (isBusy(link)) busy += 1;
      else link.gate.send({ type: "close", reason });
    }
    return busy;
  }

  /** Ends the connections that were made with pairs before this one. */
  closeBefore(generation: number, reason: string): void {
    for (const link of [...this.#links]) if (link.generation < generation) link.gate.send({ type: "close", reason });
  }

  closeAll(reason: string): void {
    for (const { gate } of [...this.#links]) gate.send({ type: "close", reason });
  }

  /** New trust: every gate is judged again, in slices; a newer snapshot starts over. */
  trustChanged(snapshot: TrustSnapshot): void {
    const pass = this.#links.values();
    const slice = () => {
      if (this.#init.snapshot() !== snapshot) return;
      for (let done = 0; done < reverifySlice; done++) {
        const next = pass.next();
        if (next.done === true) return;
        next.value.gate.send({ type: "trust.changed", snapshot });
      }
      this.#init.host.clock.after(0, slice);
    };
    slice();
  }
}

/** Sending to a gate changes its phase, which the type checker does not know. */
function phaseNow(gate: Gate): Gate["phase"] {
  return gate.phase;
}
