/**
 * A file by HTTP or HTTPS, without judging the server: revocation lists are signed.
 *
 * @module
 */
import type { IncomingMessage } from "node:http";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { Data, Effect, type Scope } from "effect";

/** From the connection to the answer's head, in milliseconds. */
export const headMs = 5_000;
/** Bytes of an answer's head. */
const headBytesMax = 16_384;

/** A file could not be fetched. */
export class HttpFailed extends Data.TaggedError("HttpFailed")<{
  readonly url: string;
  readonly detail: string;
  /** The server did not answer: no head came. */
  readonly isSilent?: boolean;
}> {
  override get message(): string {
    return `Cannot fetch ${this.url}: ${this.detail}`;
  }
}

/** The head of an answer, and its body piece by piece. */
export interface HttpAnswer {
  readonly status: number;
  readonly etag: string | undefined;
  /** As the server says; undefined where it does not. */
  readonly sizeBytes: number | undefined;
  /** The next bytes of the body; undefined at its end. */
  readonly next: Effect.Effect<Uint8Array | undefined, HttpFailed>;
}

/** Sends a GET. The connection ends with the scope. No redirect is followed. */
export type HttpGet = (url: string, etags: readonly string[]) => Effect.Effect<HttpAnswer, HttpFailed, Scope.Scope>;

/** Over the real network. */
export const httpGet: HttpGet = (url, etags) => {
  const failed = (error: unknown, isSilent = false) =>
    new HttpFailed({ url, detail: error instanceof Error ? error.message : String(error), isSilent });
  const opened = Effect.callback<IncomingMessage, HttpFailed>((resume) => {
    const options = {
      agent: false,
      headers: etags.length === 0 ? {} : { "if-none-match": etags.join(", ") },
      maxHeaderSize: headBytesMax,
    } as const;
    const request = url.startsWith("https:")
      // The signature of the list counts, not the certificate of the server. Deno wants --allow-sys=ca to read the system's CAs.
      ? httpsRequest(url, { ...options, rejectUnauthorized: false, ca: [] })
      : httpRequest(url, options);
    request.on("response", (response) => resume(Effect.succeed(response)));
    request.on("error", (error) => resume(Effect.fail(failed(error, true))));
    request.end();
    return Effect.sync(() => void request.destroy());
  });
  const late = Effect.fail(failed(`no answer within ${headMs} ms`, true));
  const head = Effect.timeoutOrElse(opened, { duration: headMs, orElse: () => late });
  return Effect.gen(function* () {
    const response = yield* Effect.acquireRelease(head, (each) => Effect.sync(() => void each.destroy()));
    response.on("error", () => {}); // the iterator tells it
    const pieces = response[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    const size = Number(response.headers["content-length"] ?? Number.NaN);
    return {
      status: response.statusCode ?? 0,
      etag: response.headers.etag,
      sizeBytes: Number.isSafeInteger(size) ? size : undefined,
      next: Effect.map(
        Effect.tryPromise({ try: () => pieces.next(), catch: (error) => failed(error) }),
        ({ done, value }) => done === true ? undefined : value,
      ),
    };
  });
};
