import { Data, Result } from "effect";

/** Bytes or JSON from outside that are not the message they should be. */
export class MalformedMessage extends Data.TaggedError("MalformedMessage")<{
  /** Where in the message, as `DispatchJob.spec.job_id`; empty for the message itself. */
  readonly path: string;
  readonly reason: string;
}> {
  override get message(): string {
    return `Cannot read message${this.path === "" ? "" : ` at ${this.path}`}: ${this.reason}`;
  }
}

/** Names in an error are quoted and cut: they come from strangers. */
export function quoted(name: string): string {
  return JSON.stringify(name.slice(0, 64));
}

/**
 * Runs a reader and turns the {@linkcode MalformedMessage} that it throws into a failure. Readers are deeply nested, and
 * this is the one place where their way out is caught; anything else that is thrown goes on up.
 */
export function attempt<T>(read: () => T): Result.Result<T, MalformedMessage> {
  try {
    return Result.succeed(read());
  } catch (error) {
    if (error instanceof MalformedMessage) return Result.fail(error);
    throw error;
  }
}
