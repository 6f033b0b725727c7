/**
 * libp2p and TLS: the connection encrypter for any libp2p application, and the transport actor of this network.
 *
 * @module
 */
export * from "./core/admission.ts";
export * from "./libp2p/mtls_security.ts";
export { defaultFrameLimits, FrameBudget, FrameBudgets, type FrameLimits } from "./libp2p/frame_guard.ts";
export { libp2pKey } from "./libp2p/key.ts";
export { tlsProtocol } from "./libp2p/mtls.ts";
export * from "./port.ts";
export type { Meter, SocketEnd } from "./libp2p/meter.ts";
export type { KeyExchange } from "./libp2p/tls_context.ts";
export * from "./libp2p/transport.ts";
