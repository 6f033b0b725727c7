/**
 * How a program follows requests as spans of traces. Without it, requests carry no context and nothing is kept of them.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText } from "../node_identity.ts";
import type { Message, MessageProtocol } from "../protocols/messages.ts";
import type { TraceContext } from "../protocols/trace_context.ts";

/** A request that is followed. */
export interface OpenRequest {
  /** The place in its trace, for the other end. */
  readonly context: TraceContext;
  /** It ended: with an answer, or without one for this reason (a code). Called once. */
  ended(code?: string): void;
}

/** Follows the requests of a transport, in both directions. */
export interface RequestTraces {
  /** A request of this node. */
  asked(request: {
    readonly peer: PeerText;
    readonly protocol: MessageProtocol;
    readonly message: Message;
  }): OpenRequest;
  /** A request that arrived whole and is allowed. `context` is what its sender wrote of its trace. */
  received(request: {
    readonly identity: PeerIdentity;
    readonly protocol: MessageProtocol;
    readonly message: Message;
    readonly context: TraceContext | undefined;
  }): OpenRequest;
}
