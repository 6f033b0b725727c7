/**
 * Received requests, handled by protocol and, for `/hypha-api/0.0.1`, by variant. Each role has one table with a typed
 * handler for every entry; a protocol or variant without a handler does not compile.
 *
 * @module
 */
import type { TransportFact } from "../../transport/port.ts";
import type { ApiRequest, MessageProtocol, ProtocolMessages } from "../../transport/protocols/messages.ts";
import type { TransportRef } from "./role.ts";

/** A request as the transport reports it. */
export type ReceivedRequest = Extract<TransportFact, { type: "request.received" }>;

/** A request that waits, and the transport that received it: only that one can answer, also after the node's key was replaced. */
export interface WaitingRequest {
  readonly request: ReceivedRequest;
  readonly transport: TransportRef;
}

/** A received request with its message, or a part of it. */
export type RequestWith<Message> = Omit<ReceivedRequest, "protocol" | "message"> & { readonly message: Message };

type KeysOf<Union> = Union extends unknown ? keyof Union : never;

/** The variants of `/hypha-api/0.0.1`, by name. */
export type ApiVariants = { readonly [Name in KeysOf<ApiRequest>]: Extract<ApiRequest, Record<Name, unknown>>[Name] };

/** One handler for each protocol, and for each variant of the API. The node itself answers about revocation lists and audit logs. */
export type RequestTable<Args> =
  & {
    readonly [Protocol in Exclude<MessageProtocol, "/hypha-api/0.0.1" | "/hypha-crl/1" | "/hypha-audit/1">]: Handler<
      Args,
      ProtocolMessages[Protocol]["request"]
    >;
  }
  & {
    readonly "/hypha-api/0.0.1": {
      readonly [Name in keyof ApiVariants]: Handler<Args, ApiVariants[Name]>;
    };
  };

/** Answers or declines one request. */
export type Handler<Args, Message> = (args: Args, request: RequestWith<Message>) => void;

/**
 * Calls the handler of a request's protocol and variant.
 *
 * @param table One role's handlers.
 * @param args What each handler is given besides the request.
 * @returns Whether there was a handler. The transport decodes known protocols and variants only, so one is expected.
 */
export function handleRequest<Args>(table: RequestTable<Args>, args: Args, request: ReceivedRequest): boolean {
  const entry: unknown = ownEntry(table, request.protocol);
  if (request.protocol !== "/hypha-api/0.0.1") return call(entry, args, request, request.message);
  const [name = "", message] = Object.entries(request.message)[0] ?? [];
  return call(ownEntry(entry, name), args, request, message);
}

/** Names come from a peer: inherited properties such as `constructor` are no handlers. */
function ownEntry(table: unknown, name: string): unknown {
  return typeof table === "object" && table !== null && Object.hasOwn(table, name)
    ? (table as Readonly<Record<string, unknown>>)[name]
    : undefined;
}

/** The transport decoded the message by the protocol's schema, so it is of the type that the handler takes. */
function call<Args>(handler: unknown, args: Args, request: ReceivedRequest, message: unknown): boolean {
  if (typeof handler !== "function") return false;
  (handler as Handler<Args, unknown>)(args, { ...request, message });
  return true;
}
