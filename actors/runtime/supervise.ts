/**
 * The only place that creates root actors.
 *
 * Without an `error` observer, an actor's error is thrown again from a timer and ends the process. With one, the actor
 * keeps its last state and sends nothing more, so that its callers would wait forever. A root made here reports the error
 * to its owner. A listener that throws harms neither the actor nor the other listeners.
 *
 * @module
 */
import {
  type Actor,
  type ActorOptions,
  type AnyActorLogic,
  createActor,
  type EmittedFrom,
  type InputFrom,
  type SnapshotFrom,
} from "xstate";

/** Options of a root actor. */
export interface RootOptions<Logic extends AnyActorLogic> {
  /** Name of the actor. */
  readonly id: string;
  /** The machine's input. */
  readonly input: InputFrom<Logic>;
  /** Called once, when the actor died of an error: the owner refuses and closes what the actor controlled. */
  readonly onError: (error: unknown) => void;
  /** Called with every new snapshot. */
  readonly onSnapshot?: (snapshot: SnapshotFrom<Logic>) => void;
  /** Called when the actor reached a final state or was stopped. */
  readonly onDone?: () => void;
  /** Called for everything the actor emits, from its start on. */
  readonly onEmitted?: (emitted: EmittedFrom<Logic>) => void;
  /** Timers of the actor and its children; the real clock by default. */
  readonly clock?: ActorOptions<Logic>["clock"];
  /** Sees every event of the actor and its children. */
  readonly inspect?: ActorOptions<Logic>["inspect"];
}

/** Creates and starts a root actor. */
export function superviseRoot<Logic extends AnyActorLogic>(logic: Logic, options: RootOptions<Logic>): Actor<Logic> {
  const { id, input, onError, clock, inspect } = options;
  const actor = createActor(logic, {
    id,
    input,
    ...(clock === undefined ? {} : { clock }),
    ...(inspect === undefined ? {} : { inspect }),
  } as ActorOptions<Logic>);
  // xstate keeps timers as properties that have the actor's number in their name. With a number for each of many roots V8 makes a class of
  // objects for each of them, and looks for it among all others: 3 % of a handshake.
  if (inspect === undefined) actor.sessionId = "root";
  const safely =
    <Args extends readonly unknown[]>(listener: ((...args: Args) => void) | undefined) => (...args: Args) => {
      try {
        listener?.(...args);
      } catch (error) {
        onError(error);
      }
    };
  if (options.onEmitted !== undefined) actor.on("*", safely(options.onEmitted));
  actor.subscribe({
    next: safely(options.onSnapshot as ((snapshot: unknown) => void) | undefined),
    error: onError,
    complete: safely(options.onDone),
  });
  actor.start();
  return actor;
}
