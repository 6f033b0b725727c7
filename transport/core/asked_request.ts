/**
 * A request of ours: one stream, on which the request is sent whole and the answer read whole.
 *
 * @module
 */
import { Result } from "effect";
import type { AskTarget, TransportAsk, TransportError } from "../port.ts";
import type { Message } from "../protocols/messages.ts";
import { decodeMessage, responseMaxBytes } from "../protocols/mod.ts";
import { AskStream } from "./ask_stream.ts";
import type { SessionParts } from "./parts.ts";
import { WholeMessage } from "./whole_message.ts";

/** What a request is made of. */
export interface AskedRequestInit {
  readonly parts: SessionParts;
  readonly ask: Extract<TransportAsk, { type: "request" }>;
  /** Whom of the peer's members it is for; any where undefined. */
  readonly to: AskTarget | undefined;
  /** The encoded request. */
  readonly bytes: Uint8Array;
  /** Receives the answer, or why there is none. Called once. */
  answered(outcome: Result.Result<Message, TransportError>): void;
  /** Nothing of it is left. Called once, after `answered`. */
  over(): void;
}

/** Sends a request. What it returns can be ended early. */
export function askRequest({ parts, ask, to, bytes, answered, over }: AskedRequestInit): AskStream<Message> {
  const { peer, protocol, timeoutMs } = ask;
  const message = new WholeMessage(responseMaxBytes);
  const stream: AskStream<Message> = new AskStream<Message>({
    parts,
    peer,
    to,
    protocol,
    timeoutMs,
    send: (opened) => opened.end(bytes),
    data: (piece) => {
      const error = message.add(piece);
      if (error !== undefined) stream.fail(error.code, error.detail);
    },
    ended: () => {
      const response = message.take();
      if (response.byteLength === 0) return stream.fail("no-answer", "the peer ended the stream without an answer");
      const decoded = decodeMessage(protocol, "response", response);
      if (Result.isFailure(decoded)) return stream.fail("malformed", decoded.failure.message);
      stream.answer(decoded.success);
    },
    answered,
    over: () => {
      message.drop();
      over();
    },
  });
  return stream;
}
