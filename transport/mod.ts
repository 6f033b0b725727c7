/**
 * libp2p and TLS: the connection encrypter for anybody's libp2p application, and the transport actor of this network.
 *
 * @module
 */
export * from "./admission.ts";
export * from "./door.ts";
export { defaultFrameLimits, FrameBudget, FrameBudgets, type FrameLimits } from "./frame_guard.ts";
export * from "./gate_book.ts";
export { libp2pKey } from "./libp2p_node.ts";
export * from "./mtls.ts";
export * from "./port.ts";
export type { Meter, SocketEnd } from "./secured_stream.ts";
export type { KeyExchange } from "./tls_context.ts";
export * from "./transport.ts";
