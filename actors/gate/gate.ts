/**
 * How the transport gets gates: root actors that `superviseRoot` makes, behind the Gate port.
 *
 * @module
 */
import { Result } from "effect";
import type { Actor, ActorOptions, AnyActorLogic } from "xstate";
import { type CheckFunctions, holds } from "../../pki/checks/check_table.ts";
import { checkIdentity, type PeerIdentity } from "../../pki/path.ts";
import { Internal, type Refusal } from "../../pki/refusal.ts";
import { cachedChecks, VerificationCache } from "../../pki/verification_cache.ts";
import type { Gate, GateCommand, GateEvent, GateInput, GatePhase, MakeGate } from "../../transport/port.ts";
import { compileMachine } from "../runtime/compiled_machine.ts";
import type { Ports } from "../runtime/ports.ts";
import { superviseRoot } from "../runtime/supervise.ts";
import { connectionGateMachine, phaseOf } from "./connection_gate.ts";
import { expiryOf } from "./gate_context.ts";

/** The gate's machine, compiled: one that cannot be compiled ends the program when it is loaded. */
const gateLogic = compileMachine(connectionGateMachine);
const inspectedLogic = compileMachine(connectionGateMachine, { inspected: true });

/** What all gates of a node share. */
export interface GateFactoryOptions {
  /** The clock that certificates are checked by, and the log. */
  readonly ports: Pick<Ports, "now" | "report">;
  /** Timers; the real ones by default. */
  readonly clock?: ActorOptions<AnyActorLogic>["clock"];
  /** Sees every event of every gate's machine. */
  readonly inspect?: ActorOptions<AnyActorLogic>["inspect"];
  /** @ignore Other functions than those of `pki/`, for tests. */
  readonly checks?: CheckFunctions;
}

/**
 * Makes the factory that the node hands to the transport.
 *
 * A gate delivers its events after its phase changed, so that a listener sees the phase that belongs to the event. A
 * listener that throws is reported and affects neither the verdict nor the other listeners. A gate whose actor failed is
 * refused with `internal`. All gates of a factory share one cache of verified chains.
 */
export function makeGateFactory(options: GateFactoryOptions): MakeGate {
  const shared = { ...options, checks: options.checks ?? cachedChecks(new VerificationCache()) };
  return (input) => new RootGate(input, shared);
}

type GateOptions = GateFactoryOptions & { readonly checks: CheckFunctions };

/** A class, so that the gates of idle connections share their methods. */
class RootGate implements Gate {
  readonly id: string;
  readonly #report: Ports["report"];
  readonly #listeners = new Set<(said: GateEvent) => void>();
  readonly #unsaid: GateEvent[] = [];
  readonly #actor: Actor<typeof gateLogic>;
  #died: Refusal | undefined;
  #sending = false;

  constructor(input: GateInput, { ports, clock, inspect, checks }: GateOptions) {
    this.id = input.id;
    this.#report = ports.report;
    this.#actor = superviseRoot(inspect === undefined ? gateLogic : inspectedLogic, {
      id: input.id,
      input: { ...input, now: ports.now, checks },
      onError: (error) => this.#refuseDead(error),
      onEmitted: (said) => void this.#unsaid.push(said),
      onSnapshot: () => {
        if (!this.#sending) this.#flush();
      },
      ...(clock === undefined ? {} : { clock }),
      ...(inspect === undefined ? {} : { inspect }),
    });
  }

  get phase(): GatePhase {
    return this.#died === undefined ? phaseOf(this.#actor.getSnapshot().value) : "refused";
  }

  get refusal(): Refusal | undefined {
    return this.#died ?? this.#actor.getSnapshot().context?.refusal;
  }

  get identity(): PeerIdentity | undefined {
    const identity = this.#actor.getSnapshot().context?.identity;
    return holds(identity) ? identity.success : undefined;
  }

  get expiresAt(): number | undefined {
    const { context } = this.#actor.getSnapshot();
    return context === undefined ? undefined : expiryOf(context);
  }

  get presented(): { readonly name: string; readonly id: string } | undefined {
    const wellFormed = this.#actor.getSnapshot().context?.wellFormed;
    if (!holds(wellFormed)) return undefined;
    const claimed = checkIdentity(wellFormed.success);
    return Result.isSuccess(claimed) ? { name: claimed.success.name, id: claimed.success.peer } : undefined;
  }

  send(event: GateCommand): void {
    if (this.#died !== undefined || this.#actor.getSnapshot().status !== "active") return;
    const outermost = !this.#sending;
    this.#sending = true;
    try {
      this.#actor.send(event);
    } finally {
      if (outermost) this.#sending = false;
    }
    if (outermost) this.#flush();
  }

  listen(listener: (said: GateEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  stop(): void {
    this.#actor.stop();
  }

  #flush(): void {
    for (let said = this.#unsaid.shift(); said !== undefined; said = this.#unsaid.shift()) {
      for (const listener of [...this.#listeners]) this.#deliver(said, listener);
    }
  }

  #deliver(said: GateEvent, listener: (said: GateEvent) => void): void {
    try {
      listener(said);
    } catch (error) {
      this.#report({
        level: "error",
        event: "gate.listener_failed",
        message: `Cannot deliver ${said.type}: its listener threw`,
        fields: { gate: this.id, error: String(error) },
      });
    }
  }

  #refuseDead(error: unknown): void {
    if (this.#died !== undefined) return;
    this.#died = new Internal({ detail: error instanceof Error ? error.message : String(error) });
    this.#unsaid.push({ type: "gate.refused", refusal: this.#died });
    if (!this.#sending) this.#flush();
  }
}
