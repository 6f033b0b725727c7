/**
 * A transport that a test plays: every ask is kept until the test answers it, and the clock is the test's too.
 *
 * @module
 */
import {
  type Actor,
  type AnyActorLogic,
  createActor,
  type EventObject,
  fromCallback,
  type InputFrom,
  setup,
  SimulatedClock,
} from "xstate";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer } from "effect";
import type { Ports, Report } from "../../actors/runtime/ports.ts";
import type { TransportRef } from "../../actors/runtime/role.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Role } from "../../pki/certificate.ts";
import { type PeerText, type TransportAsk, TransportError, type TransportFact } from "../../transport/port.ts";
import type { Message, MessageProtocol } from "../../transport/protocols/messages.ts";

type AskOf<Type extends TransportAsk["type"]> = Extract<TransportAsk, { type: Type }>;

/** An arbitrary moment that every test's clock begins at, in milliseconds since the epoch. */
export const beginning = 1_764_000_000_000;

/** Clock, ports and transport of one test. */
export interface FakeWorld {
  readonly clock: SimulatedClock;
  readonly ports: Ports;
  readonly reports: Report[];
  readonly transport: TransportRef;
  /** All asks so far, in order. */
  readonly asks: TransportAsk[];
  /** Asks of a type that were not taken yet; takes them. */
  take<Type extends TransportAsk["type"]>(type: Type): AskOf<Type>[];
  /** The one ask of a type that was not taken yet. */
  takeOne<Type extends TransportAsk["type"]>(type: Type): AskOf<Type>;
  /** Lets time pass, a timer at a time. */
  pass(ms: number): void;
  /** Sets the wall clock, forwards or back: timers run on. */
  step(ms: number): void;
  /** Fields of the reports of an event. */
  reported(event: string): Readonly<Record<string, unknown>>[];
}

/** What Effects of actors get here: files; no test of a role's machine starts a process. */
const services = Layer.mergeAll(NodeFileSystem.layer, NodePath.layer);

/** A fresh world. */
export function makeFakeWorld(): FakeWorld {
  const clock = new SimulatedClock();
  const asks: TransportAsk[] = [];
  const untaken: TransportAsk[] = [];
  const reports: Report[] = [];
  let uuids = 0, stepMs = 0;
  const transport = createActor(fromCallback<TransportAsk>(({ receive }) => {
    receive((ask) => {
      asks.push(ask);
      untaken.push(ask);
    });
  }));
  transport.start();
  const take = <Type extends TransportAsk["type"]>(type: Type): AskOf<Type>[] => {
    const taken = untaken.filter((ask) => ask.type === type);
    untaken.splice(0, untaken.length, ...untaken.filter((ask) => ask.type !== type));
    return taken as AskOf<Type>[];
  };
  return {
    clock,
    reports,
    asks,
    transport: transport as unknown as TransportRef,
    ports: {
      now: () => beginning + clock.now() + stepMs,
      monotonic: () => beginning + clock.now(),
      random: () => 0.5,
      uuid: () => `00000000-0000-4000-8000-${String(++uuids).padStart(12, "0")}`,
      report: (report) => void reports.push(report),
      run: (effect, onExit) => {
        const fiber = Effect.runFork(Effect.provide(effect, services) as typeof effect as Effect.Effect<never>);
        fiber.addObserver((exit) => queueMicrotask(() => onExit(exit)));
        return () => fiber.interruptUnsafe();
      },
    },
    take,
    takeOne(type) {
      const taken = take(type);
      if (taken.length !== 1) throw new Error(`Cannot take one ${type}: there are ${taken.length}`);
      return taken[0] as AskOf<typeof type>;
    },
    pass(ms) {
      for (let passed = 0; passed < ms; passed += 10) clock.increment(Math.min(10, ms - passed));
    },
    step: (ms) => void (stepMs += ms),
    reported: (event) => reports.filter((report) => report.event === event).map(({ fields }) => fields ?? {}),
  };
}

/** Starts a role's machine on the world's clock. */
export function startIn<Logic extends AnyActorLogic>(
  world: FakeWorld,
  logic: Logic,
  input: InputFrom<Logic>,
): Actor<Logic> {
  const actor = createActor(logic, { input, clock: world.clock } as never);
  actor.subscribe({ error: () => {} });
  actor.start();
  return actor as Actor<Logic>;
}

/** Starts a machine under a parent that records its events. */
export function startUnderParent<Logic extends AnyActorLogic>(
  world: FakeWorld,
  logic: Logic,
  input: Omit<InputFrom<Logic>, "parent">,
): { readonly said: EventObject[]; send(event: unknown): void; state(): unknown } {
  const said: EventObject[] = [];
  const parent = setup({ actors: { child: logic as AnyActorLogic } }).createMachine({
    invoke: { id: "child", src: "child", input: ({ self }: { self: unknown }) => ({ ...input, parent: self }) },
    on: { "*": { actions: ({ event }) => void said.push(event) } },
  });
  const actor = startIn(world, parent, undefined as never);
  const child = () => actor.getSnapshot().children["child"];
  return {
    said,
    send: (event) => child()?.send(event as never),
    state: () => (child()?.getSnapshot() as { readonly value?: unknown } | undefined)?.value,
  };
}

/** An identity as a certificate proves it. */
export function identityOf(peer: PeerText, role?: Role, name = `${peer}.name`): PeerIdentity {
  return {
    peer,
    name,
    subject: `CN=${name}`,
    names: [],
    role,
    domain: undefined,
    serial: "01",
    issuer: "CN=ca",
    notAfter: new Date(beginning + 1_000_000),
  } as unknown as PeerIdentity;
}

let exchanges = 0;

/** A request that arrives, of a peer by its name or as its certificate proves it. */
export function requestFrom(
  from: PeerText | PeerIdentity,
  protocol: MessageProtocol,
  message: Message,
  role?: Role,
): Extract<TransportFact, { type: "request.received" }> {
  const identity = typeof from === "string" ? identityOf(from, role) : from;
  const { peer } = identity;
  return { type: "request.received", exchange: `exchange-${++exchanges}`, peer, identity, protocol, message };
}

/** Why something failed at the transport. */
export function failedWith(code: TransportError["code"]): TransportError {
  return new TransportError({ code, detail: "in a test" });
}

/** Lets Effects that are under way come to their end. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
}
