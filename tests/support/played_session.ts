/**
 * What the parts of a session are made with, played by a test: peers, dials and streams in memory.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import { NotAuthorized } from "../../pki/refusal.ts";
import type { Act } from "../../transport/authorization/acts.ts";
import { ReadBudgets } from "../../transport/core/held_bytes.ts";
import { outbox } from "../../transport/core/outbox.ts";
import type { Authorizes, Established, SessionParts, Verifies } from "../../transport/core/parts.ts";
import type { Wire, WireConnection } from "../../transport/core/wire.ts";
import { WorkBudgets, type WorkBudgetsInit } from "../../transport/core/work_budget.ts";
import { type PeerText, type ReplyTo, TransportError, type TransportFact } from "../../transport/port.ts";
import { FakeConnection, fakeWire } from "./fake_wire.ts";
import { ManualClock } from "./manual_clock.ts";
import { type PairOptions, type PairVerdict, StreamPair } from "./wire_pair.ts";

/** Who a certificate of this PeerID proves, without its other fields. It names no role, unless it is given. */
export function identityOf(
  peer: PeerText,
  fields: Partial<Pick<PeerIdentity, "role" | "notAfter">> = {},
): PeerIdentity {
  const subject = `CN=${peer}`;
  const facts = { peer, name: peer, subject, issuer: "CN=ca", names: [], role: undefined, notAfter: new Date(8.64e15) };
  return { ...facts, ...fields } as unknown as PeerIdentity;
}

/** What a test may play itself. */
export interface PlayedOptions {
  readonly clock?: ManualClock;
  readonly self?: PeerText;
  readonly pair?: PairOptions;
  readonly wire?: Partial<Wire>;
  readonly verify?: Verifies["verify"];
  /** Who counts without a dial; by default those with a connection. */
  readonly known?: Verifies["known"];
  readonly established?: Partial<Established>;
  readonly budgets?: Partial<WorkBudgetsInit>;
  /** Which acts are refused; by default none is. */
  readonly refuses?: (act: Act, identity: PeerIdentity) => boolean;
  /** Follows requests. */
  readonly traces?: SessionParts["traces"];
  /** What the other end says of a stream of ours. */
  readonly accept?: (pair: StreamPair, peer: PeerText) => PairVerdict;
  /** Whether a peer can be dialled; by default each can. `never`: the dial does not end by itself. */
  readonly dials?: (peer: PeerText) => "connected" | "failed" | "never";
}

/** Parts, and what became of them. */
export class PlayedSession {
  readonly clock: ManualClock;
  readonly parts: SessionParts;
  readonly facts: TransportFact[] = [];
  /** Streams of ours, in order. */
  readonly pairs: StreamPair[] = [];
  readonly connections = new Map<PeerText, WireConnection>();
  /** Dials that were given up. */
  givenUp = 0;
  #ids = 0;

  constructor(options: PlayedOptions = {}) {
    const clock = options.clock ?? new ManualClock();
    const refusalOf: Authorizes["refusalOf"] = (act, identity) =>
      options.refuses?.(act, identity) === true
        ? new NotAuthorized({ act, role: identity.role ?? "none", name: identity.name, rule: "the test" })
        : undefined;
    this.clock = clock;
    this.parts = {
      traces: options.traces,
      self: options.self ?? "self",
      wire: fakeWire(options.wire ?? {}),
      clock,
      established: {
        identityOf: (connection) => {
          const peer = this.peerOf(connection);
          return peer === undefined ? undefined : identityOf(peer);
        },
        leftLately: () => false,
        identitiesOf: (peer) => this.connections.has(peer) ? [identityOf(peer)] : [],
        best: (peer) => this.connections.get(peer),
        gateways: () => [],
        areRolesRequired: false,
        ...options.established,
      },
      streams: {
        open: (connection, protocol, listener) => {
          const pair = new StreamPair(clock, protocol, options.pair);
          this.pairs.push(pair);
          const peer = this.peerOf(connection) ?? "";
          return pair.open(listener, () => options.accept?.(pair, peer) ?? "unsupported").a;
        },
      },
      dialler: {
        connect: (peer, timeoutMs, done) => this.#connect(peer, timeoutMs, options.dials?.(peer) ?? "connected", done),
      },
      verified: {
        known: options.known ?? ((peer) => this.connections.has(peer) ? [identityOf(peer)] : []),
        verify: options.verify ?? ((peer, then) => then([identityOf(peer)])),
      },
      acts: {
        refusalOf: (act, identity) => refusalOf(act, identity),
        allows: (act, identity) => refusalOf(act, identity) === undefined,
        allowedOf: (act, identities) => identities.find((identity) => refusalOf(act, identity) === undefined),
      },
      held: new ReadBudgets(),
      work: new WorkBudgets({ clock, tooExpensive: () => {}, ...options.budgets }),
      outbox: outbox({ clock, deliver: (fact) => this.facts.push(fact) }),
      uuid: () => `id-${++this.#ids}`,
    };
  }

  /** An established connection to a peer. */
  connectionTo(peer: PeerText): WireConnection {
    const known = this.connections.get(peer);
    if (known !== undefined) return known;
    const connection = new FakeConnection();
    connection.isOpen = true;
    this.connections.set(peer, connection);
    return connection;
  }

  peerOf(connection: WireConnection): PeerText | undefined {
    for (const [peer, known] of this.connections) if (known === connection) return peer;
    return undefined;
  }

  #connect(
    peer: PeerText,
    timeoutMs: number,
    outcome: "connected" | "failed" | "never",
    done: Parameters<SessionParts["dialler"]["connect"]>[2],
  ): () => void {
    const timer = this.clock.after(outcome === "never" ? timeoutMs : 0, () => {
      if (outcome === "connected") return done(Result.succeed(this.connectionTo(peer)));
      done(Result.fail(new TransportError({ code: "not-connected", detail: "nobody answers" })));
    });
    return () => {
      this.givenUp += 1;
      this.clock.cancel(timer);
    };
  }

  /** Facts of one type. */
  factsOf<T extends TransportFact["type"]>(type: T): Extract<TransportFact, { type: T }>[] {
    return this.facts.filter((fact): fact is Extract<TransportFact, { type: T }> => fact.type === type);
  }
}

/** Keeps answers. */
export function answersTo<A>(): { readonly answers: A[]; readonly replyTo: ReplyTo<A> } {
  const answers: A[] = [];
  return { answers, replyTo: { send: (answer) => void answers.push(answer) } };
}
