/**
 * From a node's configuration to the inputs of its children.
 *
 * @module
 */
import { defaultPolicy, type Policy, type TrustSnapshot } from "../../pki/trust.ts";
import type { Rule } from "../../transport/authorization/authorize.ts";
import type { AddressText, MakeGate, NodeIdentity, TransportInput } from "../../transport/port.ts";
import type { RoleConfig } from "../config/config.ts";
import { rotationDefault } from "../config/defaults.ts";
import { bundlePath } from "../files/state_directory.ts";
import type { DomainPaths, TrustPaths } from "../trust/load_trust.ts";
import type { Ports } from "../runtime/ports.ts";
import type { TrustStoreInput } from "../trust/trust_store.ts";

/** The trust policy of a configuration. */
export function policyOf(config: RoleConfig): Policy {
  return {
    ...defaultPolicy,
    leafAlgorithms: config.leafAlgorithms,
    caAlgorithms: config.caAlgorithms,
    crlGraceMs: config.crlGraceHours * 60 * 60 * 1_000,
    roles: config.requireRoles ? "require" : "optional",
  };
}

/** What the trust store is made with: the files of a configuration, and the policy. `hypha-certutil explain` loads the same. */
export function trustInputOf(config: RoleConfig): Omit<TrustStoreInput, "ports"> {
  return { ...trustPathsOf(config), policy: policyOf(config), stateDir: config.stateDir };
}

/** Without a state directory no bundle is fetched, and none lies anywhere. */
const noDirectory = "/dev/null";

/** Where a configuration has what it trusts, of each domain. */
export function trustPathsOf(config: RoleConfig): TrustPaths {
  const { trustPem, crlsPem, trustDomain: ownName, trustDomains, membership, stateDir } = config;
  const domains = trustDomains?.map(({ policy, trust, ...domain }): DomainPaths => ({
    ...domain,
    ...(typeof trust === "string"
      ? { trust }
      : { trust: bundlePath(stateDir ?? noDirectory, domain.name), fetched: true, pin: trust.pin }),
    ...(policy === undefined ? {} : { policy: policyOf({ ...config, ...policy }) }),
  }));
  return { trustPem, crlsPem, crls: membership?.crls, ownName, domains };
}

/** Where a node fetches revocation lists; nowhere where it has no directory for them. */
export function crlUrlsOf({ membership, stateDir }: RoleConfig): readonly string[] {
  return stateDir === undefined ? [] : membership?.crlUrls ?? [];
}

/** A gateway relays. Other roles reserve where the configuration allows it and names a gateway. */
export function relayOf(config: RoleConfig): TransportInput["relay"] {
  if (config.role === "gateway") return "server";
  return config.relayCircuit && config.gatewayAddresses.length > 0 ? "client" : "off";
}

/** The input of the transport. */
export function transportInputOf(
  config: RoleConfig,
  given: {
    readonly ports: Ports;
    readonly identity: NodeIdentity;
    readonly snapshot: TrustSnapshot;
    readonly makeGate: MakeGate;
    /** The operator's rules; none where undefined. */
    readonly rules?: readonly Rule[];
    /** Replaces the configured addresses: those that the previous transport listened on. */
    readonly listenAddresses?: readonly AddressText[] | undefined;
  },
): TransportInput {
  const { ports, identity, snapshot, makeGate, rules = [], listenAddresses = config.listenAddresses } = given;
  return {
    role: config.role,
    identity,
    snapshot,
    makeGate,
    rules,
    listenAddresses,
    externalAddresses: config.externalAddresses,
    gatewayAddresses: config.gatewayAddresses,
    excludeCidr: config.excludeCidr,
    rotation: config.rotation ?? rotationDefault,
    relay: relayOf(config),
    keyExchange: config.keyExchange,
    handshakeTimeoutMs: config.handshakeTimeoutMs,
    limits: config.limits,
    now: ports.now,
    random: ports.random,
    uuid: ports.uuid,
  };
}
