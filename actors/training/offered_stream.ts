/**
 * A stream that a peer opened to this node, before it is accepted or rejected. Where a member takes part in several trainings, their scheduler
 * has accepted the stream and read its head already (`scheduler/sort_stream.ts`).
 *
 * @module
 */
import type { StreamAnswer, StreamHandle } from "../../transport/port.ts";
import type { Ports } from "../runtime/ports.ts";
import type { TransportRef } from "../runtime/role.ts";

/** A stream that may be accepted or rejected. */
export interface OfferedStream {
  readonly exchange: string;
  /** Where it was accepted already. */
  readonly opened?: StreamHandle | undefined;
}

/** The actor that takes or rejects it. */
interface Taker {
  readonly transport: TransportRef;
  readonly ports: Pick<Ports, "run">;
}

/** The part of a fact that says which stream it is. */
export function offeredStream({ exchange, opened }: OfferedStream): OfferedStream {
  return opened === undefined ? { exchange } : { exchange, opened };
}

/** Accepts a stream. */
export function acceptStream(
  { transport }: Pick<Taker, "transport">,
  { exchange, opened }: OfferedStream,
  replyTo: { send(answer: StreamAnswer): void },
): void {
  if (opened === undefined) transport.send({ type: "stream.accept", exchange, replyTo });
  else replyTo.send({ type: "stream.opened", id: exchange, stream: opened });
}

/** Rejects a stream. */
export function rejectStream({ transport, ports }: Taker, { exchange, opened }: OfferedStream): void {
  if (opened === undefined) transport.send({ type: "stream.reject", exchange });
  else ports.run(opened.abort("rejected"), () => {});
}
