/**
 * A Kademlia message of ours to one peer, and its answer.
 *
 * @module
 */
import { Result } from "effect";
import type { AskTarget, PeerText, TransportError } from "../port.ts";
import { decodeKadMessage, type KadMessage, kadMessageMaxBytes } from "../protocols/kad_record.ts";
import { AskStream } from "./ask_stream.ts";
import { MessageReader } from "./length_prefixed.ts";
import type { SessionParts } from "./parts.ts";
import { kadProtocol } from "./wire.ts";

/** What an ask is made of. */
export interface KadAskInit {
  readonly parts: SessionParts;
  readonly peer: PeerText;
  /** The encoded message with its length in front. It belongs to the ask. */
  readonly framed: Uint8Array;
  readonly timeoutMs: number;
  /** Whom of the peer's members it is for. */
  readonly to?: AskTarget | undefined;
  /** Receives the answer, or why there is none. Called once. */
  answered(answer: Result.Result<KadMessage, TransportError>): void;
  /** Nothing of it is left. Called once, after `answered`. */
  over(): void;
}

/** Sends a Kademlia message. What it returns can be ended early. */
export function askKad({ parts, peer, framed, timeoutMs, to, answered, over }: KadAskInit): AskStream<KadMessage> {
  const reader = new MessageReader(kadMessageMaxBytes);
  const stream: AskStream<KadMessage> = new AskStream<KadMessage>({
    parts,
    peer,
    protocol: kadProtocol,
    timeoutMs,
    to,
    send: (opened) => opened.send(framed),
    data: (piece) => {
      reader.append(piece);
      const message = reader.next();
      if (message === undefined) return;
      if (message === "too-large") {
        return stream.fail("too-large", `an answer of more than ${kadMessageMaxBytes} bytes`);
      }
      const decoded = decodeKadMessage(message);
      if (Result.isFailure(decoded)) return stream.fail("malformed", decoded.failure.message);
      reader.clear();
      stream.endWriting();
      stream.answer(decoded.success);
    },
    ended: () => stream.fail("no-answer", "the peer ended the stream without an answer"),
    answered,
    over: () => {
      reader.clear();
      over();
    },
  });
  return stream;
}
