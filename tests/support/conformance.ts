/**
 * Two worlds for one suite: the core over libp2p on loopback, and over a virtual network.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { Effect, Exit } from "effect";
import { createActor, setup } from "xstate";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { HostilePeer } from "../../actors/simulation/hostile_peer.ts";
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
  TransportLimits,
} from "../../transport/port.ts";
import { withoutPeer } from "../../transport/core/addresses.ts";
import type { Clock } from "../../transport/core/clock.ts";
import { expirySweepMs } from "../../transport/core/reverification.ts";
import type { Session } from "../../transport/core/session.ts";
import { makeTransport } from "../../transport/core/transport.ts";
import { realClock } from "../../transport/libp2p/real_clock.ts";
import { Libp2pWire } from "../../transport/libp2p/wire.ts";
import { Directory } from "../../transport/simulated/directory.ts";
import { VirtualNetwork } from "../../transport/simulated/network.ts";
import { makeSimulatedTransport } from "../../transport/simulated/transport.ts";
import { SimulatedWire } from "../../transport/simulated/wire.ts";
import type { TestNode, TestPki } from "./pki.ts";
import { startTransport, transportInputOf, until } from "./transports.ts";

type Question = TransportAsk extends infer A ? A extends { replyTo: ReplyTo<infer _> } ? Omit<A, "replyTo"> : never
  : never;

/** A started transport of either kind. */
export interface Party {
  readonly peer: PeerText;
  readonly node: TestNode;
  readonly address: AddressText;
  readonly facts: readonly TransportFact[];
  /** What is open in its core: exchanges, streams, dials, handshakes. */
  readonly size: number;
  send(ask: TransportAsk): void;
  ask(question: Question): Promise<TransportAnswer>;
  /** The first fact that `select` picks, said already or within ten seconds. */
  fact<F>(select: (fact: TransportFact) => F | undefined | false): Promise<F>;
  run<A, E>(effect: Effect.Effect<A, E>): Promise<A>;
  stop(): Promise<void>;
}

/** How a party is made. */
export interface JoinOptions {
  readonly node?: TestNode;
  readonly gateway?: boolean;
  /** Where a party that retired was, in place of an address of its own. */
  readonly at?: AddressText;
  /** Called when `start` was asked and nothing answered yet. */
  readonly early?: (send: (ask: TransportAsk) => void) => void;
  readonly limits?: Partial<TransportLimits>;
  /** What else of its input differs from the usual. */
  readonly input?: Partial<Pick<TransportInput, "role" | "rules" | "gatewayAddresses" | "relay" | "rotation">>;
}

/** Where parties meet. */
export interface Meeting {
  readonly name: string;
  join(name: string, options?: JoinOptions): Promise<Party>;
  /** A member without a core, which keeps to no rule; with a certificate that names no role, unless one is given. */
  intrude(name: string, node?: TestNode): Promise<HostilePeer>;
  /** Lets time pass, in milliseconds. */
  pass(ms: number): Promise<void>;
  /** The wall clocks of all parties jump, in milliseconds; timers do not notice. */
  jump(ms: number): void;
}

/** A test dials many times a second from one address. */
const unhurried: TransportLimits = { ...defaultLimits, handshakesPerSecond: 10_000, handshakesBurst: 10_000 };

/** Real timers, but the sweep of expired certificates runs after 200 ms. Tests must not use {@linkcode expirySweepMs} for other timers. */
function sweepingSoon(clock: Clock): Clock {
  return { ...clock, after: (ms, task) => clock.after(ms === expirySweepMs ? 200 : ms, task) };
}

/** libp2p on loopback. */
export function realMeeting(pki: TestPki): Meeting {
  let aheadMs = 0;
  const now = () => Date.now() + aheadMs;
  return {
    name: "libp2p",
    jump: (ms) => void (aheadMs += ms),
    pass: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    async intrude(name, node) {
      const input = transportInputOf({ pki, node: node ?? await pki.node(name) });
      const peer = new HostilePeer(new Libp2pWire(input, realClock(Date.now)), input.identity);
      await new Promise((resolve) => peer.wire.start(peer, resolve));
      return peer;
    },
    async join(name, { node, gateway = false, at, early, limits = {}, input = {} } = {}) {
      let session: Session | undefined;
      const logic = makeTransport({
        makeWire: (input, clock) => new Libp2pWire(input, clock),
        clock: (input) => sweepingSoon(realClock(input.now)),
        watch: { session: (started) => session = started },
      });
      const transport = await startTransport({
        name,
        pki,
        logic,
        ...(node === undefined ? {} : { node }),
        ...(gateway ? { role: "gateway" as const } : {}),
        ...(at === undefined ? {} : { listenAddresses: [withoutPeer(at)] }),
        ...(early === undefined ? {} : { early }),
        ...input,
        limits: { ...unhurried, ...limits },
        now,
        makeGate: makeGateFactory({ ports: { now, report: () => {} } }),
      });
      const address = transport.addresses.find((each) => each.includes("127.0.0.1")) ?? "";
      return {
        peer: transport.peer,
        node: transport.node,
        address,
        facts: transport.facts,
        get size() {
          return Object.values(session?.open ?? {}).reduce((sum, count) => sum + count, 0);
        },
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
  const directory = new Directory();
  const clocks: NodeClock[] = [];
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
    jump(ms) {
      for (const clock of clocks) clock.skewMs += ms;
    },
    pass: (ms) => Promise.resolve(time.runTo(time.now + ms)),
    async intrude(name, node) {
      const input = transportInputOf({ pki, node: node ?? await pki.node(name), uuid: randomUUID });
      const address = `/ip4/10.0.0.${++parties}/tcp/4000`;
      const host = { name, network, clock: new NodeClock(time), directory, address, stopped: false };
      const peer = new HostilePeer(new SimulatedWire(host, input), input.identity);
      peer.wire.start(peer, () => {});
      time.runTo(time.now + 1);
      return peer;
    },
    async join(name, { node: given, gateway = false, at, early, limits = {}, input: differing = {} } = {}) {
      const node = given ?? await pki.node(name);
      const clock = new NodeClock(time);
      clocks.push(clock);
      const address = at === undefined ? `/ip4/10.0.0.${++parties}/tcp/4000` : withoutPeer(at);
      const ports = { now: () => clock.now(), report: () => {} };
      const input = transportInputOf({
        pki,
        node,
        role: gateway ? "gateway" : "worker",
        makeGate: makeGateFactory({ ports, clock: clock.machine as never }),
        listenAddresses: [],
        now: ports.now,
        random,
        limits: { ...unhurried, ...limits },
        uuid: randomUUID,
        ...differing,
      });
      const { identity } = input;
      const host = { name, network, clock, directory, address, stopped: false };
      let session: Session | undefined;
      const logic = makeSimulatedTransport(host, { session: (started) => session = started });
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
      const ask = (question: Question, meanwhile?: JoinOptions["early"]): Promise<TransportAnswer> => {
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
        meanwhile?.((said) => child.send(said));
        return Promise.resolve(stepUntil(`the answer to ${question.type}`, () => answer));
      };
      await ask({ type: "start" }, early);
      return {
        peer: identity.peer,
        node,
        address: `${address}/p2p/${identity.peer}`,
        facts,
        get size() {
          return Object.values(session?.open ?? {}).reduce((sum, count) => sum + count, 0);
        },
        send: (said) => child.send(said),
        ask: (question) => ask(question),
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
