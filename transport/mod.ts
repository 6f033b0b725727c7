/**
 * libp2p and TLS: the connection encrypter for anybody's libp2p application, and the transport actor of this network.
 *
 * @module
 */
export * from "./admission.ts";
export * from "./gate_book.ts";
export * from "./mtls.ts";
export * from "./port.ts";
export * from "./transport.ts";
