/**
 * A gate without checks, for tests of the transport alone: it lets in whoever `judge` lets in.
 *
 * @module
 */
import { X509Certificate } from "node:crypto";
import { Result } from "effect";
import { peerIdFromPublicKey } from "@libp2p/peer-id";
import { publicKeyFromRaw } from "@libp2p/crypto/keys";
import type { PeerIdentity } from "../../pki/path.ts";
import { HandshakeTimeout, HungUp, PeerIdMismatch, type Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { Gate, GateCommand, GateEvent, GateInput, GatePhase, MakeGate } from "../../transport/port.ts";

/** PeerID of an Ed25519 certificate. */
export function peerOf(der: Uint8Array): string {
  const spki = new X509Certificate(der).publicKey.export({ type: "spki", format: "der" });
  return peerIdFromPublicKey(publicKeyFromRaw(new Uint8Array(spki.subarray(-32)))).toString();
}

/** Decides about a chain; called again for each new snapshot. */
export type Judge = (chain: readonly Uint8Array[], snapshot: TrustSnapshot) => Refusal | undefined;

/** Makes gates that ask `judge`. */
export function testGates(judge: Judge = () => undefined): MakeGate {
  return (input) => new TestGate(input, judge);
}

class TestGate implements Gate {
  readonly id: string;
  phase: GatePhase = "admitting";
  refusal: Refusal | undefined;
  identity: PeerIdentity | undefined;
  readonly expiresAt = undefined;
  readonly #input: GateInput;
  readonly #judge: Judge;
  readonly #listeners = new Set<(said: GateEvent) => void>();
  readonly #timer: ReturnType<typeof setTimeout>;
  #chain: readonly Uint8Array[] = [];

  constructor(input: GateInput, judge: Judge) {
    this.id = input.id;
    this.#input = input;
    this.#judge = judge;
    this.#timer = setTimeout(() => {
      if (this.phase === "admitting" || this.phase === "securing") {
        this.#refuse(new HandshakeTimeout({ state: this.phase, afterMs: input.deadlineMs }));
      }
    }, input.deadlineMs);
    if (Result.isFailure(input.admission)) this.#refuse(input.admission.failure);
  }

  send(event: GateCommand): void {
    if (this.phase === "refused" || this.phase === "closed") return;
    switch (event.type) {
      case "connection.securing":
        this.phase = "securing";
        return;
      case "tls.secured": {
        const leaf = event.chain[0] as Uint8Array;
        const peer = peerOf(leaf);
        this.#chain = event.chain;
        const { expectedPeer } = this.#input;
        const refusal = expectedPeer !== undefined && expectedPeer !== peer
          ? new PeerIdMismatch({ expected: expectedPeer, actual: peer })
          : this.#judge(event.chain, this.#input.snapshot);
        if (refusal !== undefined) return this.#refuse(refusal);
        const { subject, serialNumber, issuer, validToDate } = new X509Certificate(leaf);
        const name = /CN=(.*)/.exec(subject)?.[1] ?? subject;
        const facts = { peer, name, subject, names: [], role: undefined, domain: undefined };
        this.identity = { ...facts, serial: serialNumber, issuer, notAfter: validToDate } as unknown as PeerIdentity;
        this.phase = "opening";
        return this.#say({ type: "gate.verified", identity: this.identity });
      }
      case "tls.failed":
      case "opening.failed":
        return this.#refuse(event.refusal);
      case "connection.opened":
        this.phase = "established";
        return this.#say({ type: "gate.established", identity: this.identity as PeerIdentity });
      case "connection.closed":
        if (this.phase !== "established") return this.#refuse(new HungUp({ detail: event.detail }));
        return this.#close(
          event.by === "us"
            ? { type: "by-us", detail: event.detail }
            : event.by === "them"
            ? { type: "by-them" }
            : { type: "lost", detail: event.detail },
        );
      case "trust.changed": {
        const refusal = this.#chain.length === 0 ? undefined : this.#judge(this.#chain, event.snapshot);
        if (refusal !== undefined) this.#close({ type: "trust.changed", refusal });
        return;
      }
      case "close":
        return this.#close({ type: "by-us", detail: event.reason });
    }
  }

  listen(listener: (said: GateEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#listeners.clear();
  }

  #refuse(refusal: Refusal): void {
    this.phase = "refused";
    this.refusal = refusal;
    this.#say({ type: "gate.refused", refusal });
  }

  #close(reason: Extract<GateEvent, { type: "gate.closed" }>["reason"]): void {
    this.phase = "closed";
    this.#say({ type: "gate.closed", reason });
  }

  #say(said: GateEvent): void {
    for (const listener of [...this.#listeners]) listener(said);
  }
}
