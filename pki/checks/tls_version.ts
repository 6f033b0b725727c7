/**
 * Does the connection speak TLS 1.3?
 *
 * @module
 */
import * as Result from "effect/Result";
import { TlsVersion } from "../refusal.ts";
import type { Proof } from "./proof.ts";

/** Proof that the connection speaks TLS 1.3. Only {@linkcode checkTlsVersion} makes one. */
export interface Tls13 extends Proof<"Tls13"> {
  /** As the TLS library names it. */
  readonly version: "TLSv1.3";
}

/**
 * Checks that the connection speaks TLS 1.3 (specification: "TLS 1.3").
 *
 * Reads the version only: the other checks verify the chain.
 *
 * @param version As `node:tls` names it; empty where none was negotiated.
 * @returns Proof of the check, or `tls-version`.
 */
export function checkTlsVersion(version: string): Result.Result<Tls13, TlsVersion> {
  if (version === "TLSv1.3") return Result.succeed({ version } as unknown as Tls13);
  return Result.fail(new TlsVersion({ detail: `peer negotiated ${version === "" ? "no version" : version}` }));
}
