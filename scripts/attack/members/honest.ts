/**
 * Honest members: a transport of ours, and how long it waits for an answer while others attack.
 *
 * @module
 */
import { freshId } from "./fresh_id.ts";
import { Result } from "effect";
import { setup } from "xstate";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { superviseRoot } from "../../../actors/runtime/supervise.ts";
import type { Role } from "../../../pki/certificate.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import { transportLogic } from "../../../transport/libp2p/transport.ts";
import type {
  NodeIdentity,
  ReplyTo,
  StartAnswer,
  TransportAnswer,
  TransportAsk,
  TransportFact,
  TransportInput,
} from "../../../transport/port.ts";
import type { Message, MessageProtocol } from "../../../transport/protocols/messages.ts";

type Question = TransportAsk extends infer A ? A extends { replyTo: ReplyTo<infer _> } ? Omit<A, "replyTo"> : never
  : never;

/** What an honest member is made with. */
interface HonestInit extends Partial<Pick<TransportInput, "relay" | "gatewayAddresses" | "listenAddresses">> {
  readonly role: Role;
  readonly identity: NodeIdentity;
  readonly trustPem: string;
}

/** An honest member. */
export class HonestMember {
  readonly identity: NodeIdentity;
  /** Everything that its transport told, in order. */
  readonly facts: TransportFact[] = [];
  /** Announced addresses. */
  addresses: readonly string[] = [];
  readonly #send: (ask: TransportAsk) => void;
  readonly #stop: () => void;

  private constructor({ role, identity, trustPem, ...rest }: HonestInit) {
    this.identity = identity;
    const made = makeTrustSnapshot({ trustPem, policy: defaultPolicy, generation: 1, at: new Date() });
    const input: TransportInput = {
      role,
      identity,
      snapshot: Result.getOrThrow(made).snapshot,
      makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
      listenAddresses: [],
      externalAddresses: [],
      gatewayAddresses: [],
      excludeCidr: [],
      rotation: { drain: "expiry", drainMs: 60_000 },
      relay: "off",
      keyExchange: "classical",
      // What it waits is measured: at a load of 15 to 27 on two cores a dial took more than 15 s, and ended the attack.
      handshakeTimeoutMs: 40_000,
      limits: defaultLimits,
      now: Date.now,
      random: Math.random,
      uuid: freshId,
      ...rest,
    };
    const holder = superviseRoot(
      setup({
        types: { events: {} as TransportFact },
        actors: { transport: transportLogic },
        actions: { keep: ({ event }) => void this.facts.push(event) },
      }).createMachine({
        invoke: { id: "transport", src: "transport", input: () => input },
        on: { "*": { actions: "keep" } },
      }),
      {
        id: "honest",
        input: undefined,
        onError: (error) => {
          throw error;
        },
      },
    );
    const transport = holder.getSnapshot().children["transport"] as { send(ask: TransportAsk): void };
    this.#send = (ask) => transport.send(ask);
    this.#stop = () => holder.stop();
  }

  /** Starts one. */
  static async start(init: HonestInit): Promise<HonestMember> {
    const member = new HonestMember(init);
    const started = await member.ask({ type: "start" }) as StartAnswer;
    if (started.type !== "listening") throw new Error(`an honest member did not start: ${started.error.message}`);
    member.addresses = started.addresses;
    return member;
  }

  send(ask: TransportAsk): void {
    this.#send(ask);
  }

  /** Asks its transport. */
  ask(question: Question): Promise<TransportAnswer> {
    return new Promise((resolve) => this.#send({ ...question, replyTo: { send: resolve } } as TransportAsk));
  }

  /** Dials; throws where it is refused. */
  async dial(address: string): Promise<void> {
    const answer = await this.ask({ type: "dial", id: address, target: { address } });
    if (answer.type === "dial.failed") throw new Error(`an honest member was turned away: ${answer.refusal.message}`);
  }

  /** A request's answer; undefined where there is none. */
  async request(peer: string, protocol: MessageProtocol, message: Message): Promise<Message | undefined> {
    const ask = { type: "request", id: freshId(), peer, protocol, message, timeoutMs: 30_000 } as const;
    const answer = await this.ask(ask);
    return answer.type === "response" ? answer.message : undefined;
  }

  /** The first fact, told already or within the time, that `select` picks; undefined where there is none. */
  async fact<F>(select: (fact: TransportFact) => F | undefined, withinMs = 30_000): Promise<F | undefined> {
    const end = performance.now() + withinMs;
    for (;;) {
      for (const fact of this.facts) {
        const found = select(fact);
        if (found !== undefined) return found;
      }
      if (performance.now() > end) return undefined;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async stop(): Promise<void> {
    await this.ask({ type: "drain" });
    this.#stop();
  }
}

/** How often an honest member asks. */
export interface PingLimits {
  /** The fewest pings. */
  readonly least: number;
  /** From the beginning of one ping to that of the next, in milliseconds. */
  readonly paceMs: number;
}

/** Asks a node whether it is well, until `during` has ended; milliseconds of each. Throws where one got no answer. */
export async function pingsWhile(
  honest: HonestMember,
  peer: string,
  during: Promise<unknown>,
  { least, paceMs }: PingLimits,
): Promise<number[]> {
  let going = true;
  const over = () => void (going = false);
  during.then(over, over);
  const latencies: number[] = [];
  while (going || latencies.length < least) {
    const begun = performance.now();
    const answer = await honest.request(peer, "/hypha-health/0.0.1", {});
    const ms = performance.now() - begun;
    if (answer === undefined) throw new Error(`an honest member got no answer after ${Math.round(ms)} ms`);
    latencies.push(ms);
    await new Promise((resolve) => setTimeout(resolve, Math.max(1, paceMs - ms)));
  }
  return latencies;
}
