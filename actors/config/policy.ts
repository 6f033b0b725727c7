/**
 * What a configuration says about trust.
 *
 * @module
 */
import { defaultPolicy, type Policy } from "../../pki/trust.ts";
import type { CommonConfig } from "./config.ts";

/** The policy for the certificates of others. Every role may connect; who may do what is decided where it is asked. */
export function policyOf(config: CommonConfig): Policy {
  return {
    ...defaultPolicy,
    leafAlgorithms: config.leafAlgorithms,
    caAlgorithms: config.caAlgorithms,
    crlGraceMs: config.crlGraceHours * 60 * 60 * 1_000,
    roles: config.requireRoles ? "require" : "optional",
  };
}
