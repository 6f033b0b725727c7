/**
 * Wires of libp2p on loopback under a connection table, without the rest of the core.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { Result } from "effect";
import type { Refusal } from "../../pki/refusal.ts";
import { ConnectionTable } from "../../transport/core/connection_table.ts";
import type {
  GossipMessage,
  StreamListener,
  WireConnection,
  WireListener,
  WireStarted,
  WireStream,
  WireTarget,
} from "../../transport/core/wire.ts";
import { realClock } from "../../transport/libp2p/real_clock.ts";
import { Libp2pWire } from "../../transport/libp2p/wire.ts";
import type { ServiceAct } from "../../transport/core/wire.ts";
import type { AddressText, PeerText, TransportInput } from "../../transport/port.ts";
import type { TestPki } from "./pki.ts";
import { transportInputOf } from "./transports.ts";

/** A stream that a peer opened, with what came over it. */
export interface ReceivedStream {
  readonly connection: WireConnection;
  readonly stream: WireStream;
  readonly came: Uint8Array[];
}

/** A listener that asks real gates, and notes the rest. */
export class NotingListener extends ConnectionTable implements WireListener {
  readonly opens: WireConnection[] = [];
  readonly streams: ReceivedStream[] = [];
  readonly gossiped: GossipMessage[] = [];
  readonly announcements: (readonly AddressText[])[] = [];
  /** What each peer was charged, in microseconds. */
  readonly charged = new Map<PeerText, number>();
  /** Verdict on streams, where it is no reader. */
  verdict: "unsupported" | "too-many" | "refused" | undefined;
  /** Whether nothing is announced. */
  isHidden = false;
  isDialled: (address: AddressText) => boolean = () => true;

  override opened(connection: WireConnection): boolean {
    const stands = super.opened(connection);
    if (stands) this.opens.push(connection);
    return stands;
  }
  stream(connection: WireConnection, stream: WireStream): StreamListener | "unsupported" | "too-many" | "refused" {
    if (this.verdict !== undefined) return this.verdict;
    const received: ReceivedStream = { connection, stream, came: [] };
    this.streams.push(received);
    return { data: (bytes) => void received.came.push(bytes), ended: () => stream.end(), closed: () => {} };
  }
  charge(peer: PeerText, us: number): number {
    this.charged.set(peer, (this.charged.get(peer) ?? 0) + us);
    return 0;
  }
  refund(peer: PeerText, us: number): void {
    this.charge(peer, -us);
  }
  /** Work that waits for its turn; without a list all is done at once. */
  turns: (() => void)[] | undefined;
  inTurn(peer: PeerText, _owner: object, us: number, task: () => void): void {
    this.charge(peer, us);
    if (this.turns === undefined) task();
    else this.turns.push(task);
  }
  giveUp(): void {}
  /** Acts that peers may not do. */
  readonly denied = new Set<ServiceAct>();
  /** Acts that were asked about, each with the peer. */
  readonly asked: { readonly act: ServiceAct; readonly peer: string | undefined }[] = [];
  permits(connection: WireConnection, act: ServiceAct): boolean {
    this.asked.push({ act, peer: this.identityOf(connection)?.peer });
    return !this.denied.has(act);
  }
  mayDial(address: AddressText): boolean {
    return this.isDialled(address);
  }
  isConfigured(): boolean {
    return false;
  }
  mayServeDht(): boolean {
    return true;
  }
  mayKnow(): boolean {
    return true;
  }
  announced(own: readonly AddressText[]): readonly AddressText[] {
    return this.isHidden ? [] : own;
  }
  gossip(message: GossipMessage): void {
    this.gossiped.push(message);
    message.settle("accept");
  }
  addresses(own: readonly AddressText[]): void {
    this.announcements.push(own);
  }
  reservationLost(): void {}
  dhtReady(): void {}
}

/** A started wire. */
export interface TestWire {
  readonly peer: PeerText;
  readonly wire: Libp2pWire;
  readonly listener: NotingListener;
  readonly started: WireStarted;
  dial(target: WireTarget): Promise<Result.Result<WireConnection, Refusal>>;
  stop(): Promise<void>;
}

/** Makes a wire and its listener. */
export async function makeWire(
  pki: TestPki,
  options: Partial<TransportInput> = {},
): Promise<{ readonly wire: Libp2pWire; readonly listener: NotingListener; readonly input: TransportInput }> {
  const input = transportInputOf({ pki, node: await pki.node("node"), ...options });
  const clock = realClock(input.now);
  const { identity, makeGate, snapshot, limits, handshakeTimeoutMs } = input;
  const listener = new NotingListener({
    clock,
    makeGate,
    snapshot,
    identity: () => identity,
    limits,
    handshakeTimeoutMs,
    uuid: randomUUID,
    listener: {},
  });
  return { wire: new Libp2pWire(input, clock), listener, input };
}

/** Starts a wire on loopback. */
export async function startWire(
  pki: TestPki,
  { isHidden = false, ...options }: Partial<TransportInput> & { readonly isHidden?: boolean } = {},
): Promise<TestWire> {
  const { wire, listener, input } = await makeWire(pki, options);
  listener.isHidden = isHidden;
  const started = await new Promise<WireStarted>((resolve, reject) =>
    wire.start(listener, (outcome) => {
      if (Result.isSuccess(outcome)) resolve(outcome.success);
      else reject(outcome.failure);
    })
  );
  return {
    peer: input.identity.peer,
    wire,
    listener,
    started,
    dial: (target) => new Promise((resolve) => void wire.dial(target, resolve)),
    stop: () => new Promise((resolve) => wire.stop(resolve)),
  };
}
