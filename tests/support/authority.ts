/**
 * A CA for tests: root, intermediate and an empty register in a folder of its own.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import type { CaAlarm } from "../../actors/ca/alarm.ts";
import { CaRefused } from "../../actors/ca/ca_refused.ts";
import {
  type AuthorityParts,
  type AuthorityTerms,
  type CertificateAuthority,
  makeAuthority,
} from "../../actors/ca/certificate_authority.ts";
import { Register } from "../../actors/ca/register.ts";
import { createToken, type TokenRequest } from "../../actors/ca/token_rows.ts";
import { fileSigner, issueCsr, type Issued, issueIntermediate, issueRoot, type Signer } from "../../pki/issue/mod.ts";
import { parsePem } from "../../pki/pem.ts";

const dayMs = 24 * 60 * 60_000;
/** The moment at which tests begin. */
export const start = new Date("2026-11-01T00:00:00Z");

/** A CA with what tests need of it. */
export interface TestAuthority {
  readonly ca: CertificateAuthority;
  readonly root: Issued;
  readonly intermediate: Issued;
  readonly alarms: readonly CaAlarm[];
  readonly folder: string;
  /** Makes a token's text. */
  readonly token: (name: string, more?: Partial<TokenRequest>, at?: Date) => Promise<string>;
  /** Closes the register and opens it again, as a restart does. */
  readonly reopen: () => CertificateAuthority;
  readonly close: () => void;
}

/** What of a CA differs from the usual. */
export interface TestAuthorityOptions extends Partial<AuthorityTerms>, Pick<AuthorityParts, "retired"> {
  readonly signer?: (real: Signer) => Signer;
  /** When the intermediate ends. */
  readonly notAfter?: Date;
  readonly from?: Date;
}

/** Makes a CA. */
export async function testAuthority(options: TestAuthorityOptions = {}): Promise<TestAuthority> {
  const { signer = (real: Signer) => real, notAfter, from = start, ...terms } = options;
  const notBefore = new Date(+from - dayMs);
  const period = { notBefore, notAfter: new Date(+from + 3_650 * dayMs) };
  const root = await issueRoot({ commonName: "Root", ...period });
  const intermediate = await issueIntermediate({
    commonName: "CA",
    issuer: root,
    notBefore,
    notAfter: notAfter ?? new Date(+from + 730 * dayMs),
  });
  const folder = mkdtempSync(join(tmpdir(), "hypha-ca-"));
  const file = join(folder, "ca.db");
  const alarms: CaAlarm[] = [];
  const make = (register: Register) =>
    Result.getOrThrow(makeAuthority({
      register,
      signer: signer(fileSigner(intermediate.keyPem)),
      chain: [intermediate.der, root.der],
      domain: "acme.example",
      url: "https://ca.acme.example:8443",
      lifetimeMs: () => 30 * dayMs,
      renewAfterExpiryMs: 3 * dayMs,
      retiredIssuers: [],
      gateways: [],
      approvedRoles: [],
      onAlarm: (alarm) => alarms.push(alarm),
      ...terms,
    }));
  let register = Result.getOrThrow(Register.create(file));
  const ca = make(register);
  return {
    ca,
    root,
    intermediate,
    alarms,
    folder,
    token: async (name, more = {}, at = from) =>
      (await Effect.runPromise(createToken(ca, { role: "worker", name, replaces: "no", ...more }, at))).text,
    reopen: () => {
      register.close();
      register = Result.getOrThrow(Register.open(file));
      return make(register);
    },
    close: () => {
      register.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** A signing request, DER, and its key. */
export async function testCsr(commonName = "any", keyPem?: string, san: readonly string[] = []) {
  const made = await issueCsr({ commonName, san, ...(keyPem === undefined ? {} : { keyPem }) });
  return { der: Uint8Array.from(Result.getOrThrow(parsePem(made.csrPem))[0]!.der), keyPem: made.keyPem };
}

/** The code of a refusal, a register's problem, or `done`. */
export function codeOf<A>(operation: Effect.Effect<A, { readonly _tag: string }>): Promise<string> {
  return Effect.runPromise(Effect.match(operation, {
    onSuccess: () => "done",
    onFailure: (error) =>
      error instanceof CaRefused ? error.code : (error as { problem?: string }).problem ?? error._tag,
  }));
}
