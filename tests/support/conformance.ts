/**
 * Two worlds for one suite: the transport over libp2p on loopback, and its twin over a virtual network.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { Effect, Exit } from "effect";
import { createActor, setup } from "xstate";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { NodeClock } from "../../actors/simulation/node_clock.ts";
import { VirtualTime } from "../../actors/simulation/virtual_time.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import type {
  AddressText,
  PeerText,
  ReplyTo,
  TransportAnswer,
  TransportAsk,
  TransportFact,
  TransportInput,
} from "../../transport/port.ts";
import { withoutPeer } from "../../transport/core/connections.ts";
import { makeAddressBook, makeSimulatedTransport } from "../../transport/simulated/simulated.ts";
import { VirtualNetwork } from "../../transport/simulated/network.ts";
import type { TestNode, TestPki } from "./pki.ts";
import { identityOf, snapshotOf, startTransport, until } from "./transports.ts";

type Question = TransportAsk extends infer A ? A extends { replyTo: ReplyTo<infer _> } ? Omit<A, "replyTo"> : never
  : never;

/** A started transport of either kind. */
export interface Party {
  readonly peer: PeerText;
  readonly node: TestNode;
  readonly address: AddressText;
  readonly facts: readonly TransportFact[];
  send(ask: TransportAsk): void;
  ask(question: Question): Promise<TransportAnswer>;
  /** The first fact that `select` picks, said already or within ten seconds. */
  fact<F>(select: (fact: TransportFact) => F | undefined | false): Promise<F>;
  run<A, E>(effect: Effect.Effect<A, E>): Promise<A>;
  stop(): Promise<void>;
}

/** Where parties meet. */
export interface Meeting {
  readonly name: string;
  join(name: string, options?: {
    readonly node?: TestNode;
    readonly gateway?: boolean;
    /** Where a party that retired was, in place of an address of its own. */
    readonly at?: AddressText;
  }): Promise<Party>;
  /** Lets time pass, in milliseconds. */
  pass(ms: number): Promise<void>;
}

/** libp2p on loopback. */
export function realMeeting(pki: TestPki): Meeting {
  return {
    name: "libp2p",
    pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    async join(name, { node, gateway = false, at } = {}) {
      const transport = await startTransport({
        name,
        pki,
        ...(node === undefined ? {} : { node }),
        ...(gateway ? { role: "gateway" as const } : {}),
        ...(at === undefined ? {} : { listenAddresses: [withoutPeer(at)] }),
      });
      const address = transport.addresses.find((each) => each.includes("127.0.0.1")) ?? "";
      return {
        peer: transport.peer,
        node: transport.node,
        address,
        facts: transport.facts,
        send: transport.send,
        ask: (question) => transport.ask(question as never),
        fact: (select) => transport.fact(select, 10_000),
        run: (effect) => Effect.runPromise(effect),
        stop: () => transport.stop(),
      };
    },
  };
}

/** The virtual network. */
export function simulatedMeeting(pki: TestPki): Meeting {
  const time = new VirtualTime(Date.now());
  let draws = 0;
  const random = () => (draws = (draws * 16_807 + 12_345) % 2_147_483_647) / 2_147_483_647;
  const network = new VirtualNetwork({ time, random });
  const book = makeAddressBook();
  let parties = 0;
  const stepUntil = <T>(what: string, look: () => T | undefined | false, ms = 60_000): T => {
    const end = time.now + ms;
    for (;;) {
      const found = look();
      if (found !== undefined && found !== false) return found;
      if (!time.step(end)) throw new Error(`Cannot see ${what} within ${ms} virtual ms`);
    }
  };
  return {
    name: "simulated",
    pass: (ms) => Promise.resolve(time.runTo(time.now + ms)),
    async join(name, { node: given, gateway = false, at } = {}) {
      const node = given ?? await pki.node(name);
      const identity = identityOf(node);
      const clock = new NodeClock(time);
      const address = at === undefined ? `/ip4/10.0.0.${++parties}/tcp/4000` : withoutPeer(at);
      const ports = { now: () => clock.now(), report: () => {} };
      const input: TransportInput = {
        role: gateway ? "gateway" : "worker",
        identity,
        snapshot: snapshotOf(pki),
        makeGate: makeGateFactory({ ports, clock: clock.machine as never }),
        listenAddresses: [],
        externalAddresses: [],
        gatewayAddresses: [],
        excludeCidr: [],
        rotation: { drain: "expiry", drainMs: 60_000 },
        relay: "off",
        keyExchange: "hybrid",
        handshakeTimeoutMs: 2_000,
        limits: { ...defaultLimits, handshakesPerSecond: 10_000, handshakesBurst: 10_000 },
        now: ports.now,
        random,
        uuid: randomUUID,
      };
      const logic = makeSimulatedTransport({ name, network, clock, book, address, peer: "", stopped: false });
      const facts: TransportFact[] = [];
      const parent = createActor(
        setup({
          types: { events: {} as TransportFact },
          actors: { transport: logic },
          actions: { keep: ({ event }) => void facts.push(event) },
        }).createMachine({
          invoke: { id: "transport", src: "transport", input: () => input },
          on: { "*": { actions: "keep" } },
        }),
      );
      parent.start();
      const child = parent.getSnapshot().children["transport"] as { send(ask: TransportAsk): void };
      const ask = (question: Question): Promise<TransportAnswer> => {
        let answer: TransportAnswer | undefined;
        const inside = { now: true };
        const replyTo = {
          send(said: TransportAnswer) {
            if (inside.now) throw new Error("answered inside the send that asked");
            if (answer !== undefined) throw new Error("answered twice");
            answer = said;
          },
        };
        child.send({ ...question, replyTo } as TransportAsk);
        inside.now = false;
        return Promise.resolve(stepUntil(`the answer to ${question.type}`, () => answer));
      };
      await ask({ type: "start" });
      return {
        peer: identity.peer,
        node,
        address: `${address}/p2p/${identity.peer}`,
        facts,
        send: (said) => child.send(said),
        ask,
        fact: (select) =>
          Promise.resolve(stepUntil(`the fact at ${name}`, () => {
            for (const fact of facts) {
              const found = select(fact);
              if (found !== undefined && found !== false) return found;
            }
            return undefined;
          })),
        run: (effect) => {
          let exit: Exit.Exit<unknown, unknown> | undefined;
          Effect.runFork(effect).addObserver((ended) => exit = ended);
          const ended = stepUntil("the effect's end", () => exit);
          return Exit.isSuccess(ended) ? Promise.resolve(ended.value as never) : Promise.reject(new Error("it failed"));
        },
        async stop() {
          await ask({ type: "drain" });
          parent.stop();
        },
      };
    },
  };
}

export { until };
