/**
 * How the transport gets gates: root actors made by `superviseRoot`, seen through the Gate port.
 *
 * @module
 */
import { Result } from "effect";
import { ChainMemory } from "../pki/chain_memory.ts";
import { checkIdentity } from "../pki/path.ts";
import { Internal, type Refusal } from "../pki/refusal.ts";
import type { Gate, GateInput, GateSaid, MakeGate } from "../transport/port.ts";
import { handshakeMachine, phaseOf } from "./handshake.ts";
import { type Checks, holds, rememberingChecks } from "./handshake_checks.ts";
import type { Ports } from "./ports.ts";
import { type RootOptions, superviseRoot } from "./supervise.ts";

/** What all gates of a node share. */
export interface GateFactoryOptions {
  readonly ports: Pick<Ports, "now" | "report">;
  /** Timers; the real ones by default. */
  readonly clock?: RootOptions<typeof handshakeMachine>["clock"];
  readonly inspect?: RootOptions<typeof handshakeMachine>["inspect"];
  /** Another machine than the network's own, with checks of its own, for tests. */
  readonly machine?: typeof handshakeMachine;
}

/**
 * Makes the factory that the node hands to the transport.
 *
 * A gate says what it has to say after its phase changed, so that a listener sees the phase that goes with it. A
 * listener that throws is reported and harms neither the verdict nor the other listeners. A gate whose actor died of an
 * error is refused with `internal`. All gates of a factory remember together which chains they found good.
 */
export function makeGateFactory(options: GateFactoryOptions): MakeGate {
  const { machine } = options;
  const own = machine === undefined
    ? { machine: handshakeMachine, checks: rememberingChecks(new ChainMemory()) }
    : { machine };
  return (input) => makeGate(input, { ...options, ...own });
}

type GateOptions = GateFactoryOptions & {
  readonly machine: typeof handshakeMachine;
  readonly checks?: Checks;
};

function makeGate(input: GateInput, { ports, clock, inspect, machine, checks }: GateOptions): Gate {
  const { id } = input;
  const listeners = new Set<(said: GateSaid) => void>();
  const unsaid: GateSaid[] = [];
  let died: Refusal | undefined;
  let sending = false;

  const flush = () => {
    for (let said = unsaid.shift(); said !== undefined; said = unsaid.shift()) {
      for (const listener of [...listeners]) {
        try {
          listener(said);
        } catch (error) {
          ports.report({
            level: "error",
            event: "gate.listener_failed",
            message: `Cannot deliver ${said.type}: its listener threw`,
            fields: { gate: id, error: String(error) },
          });
        }
      }
    }
  };
  const refuseDead = (error: unknown) => {
    if (died !== undefined) return;
    died = new Internal({ detail: error instanceof Error ? error.message : String(error) });
    unsaid.push({ type: "gate.refused", refusal: died });
    if (!sending) flush();
  };

  const actor = superviseRoot(machine, {
    id,
    input: { ...input, now: ports.now, ...(checks === undefined ? {} : { checks }) },
    onError: refuseDead,
    onEmitted: (said) => {
      unsaid.push(said);
    },
    onSnapshot: () => {
      if (!sending) flush();
    },
    ...(clock === undefined ? {} : { clock }),
    ...(inspect === undefined ? {} : { inspect }),
  });

  return {
    id,
    get phase() {
      return died === undefined ? phaseOf(actor.getSnapshot().value) : "refused";
    },
    get refusal() {
      return died ?? actor.getSnapshot().context?.refusal;
    },
    get identity() {
      const identity = actor.getSnapshot().context?.identity;
      return holds(identity) ? identity.success : undefined;
    },
    get presented() {
      const wellFormed = actor.getSnapshot().context?.wellFormed;
      if (!holds(wellFormed)) return undefined;
      const claimed = checkIdentity(wellFormed.success);
      return Result.isSuccess(claimed) ? { name: claimed.success.name, id: claimed.success.peer } : undefined;
    },
    send(event) {
      if (died !== undefined || actor.getSnapshot().status !== "active") return;
      const outermost = !sending;
      sending = true;
      try {
        actor.send(event);
      } finally {
        if (outermost) sending = false;
      }
      if (outermost) flush();
    },
    listen(listener) {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    stop() {
      actor.stop();
    },
  };
}
