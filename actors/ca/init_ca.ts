/**
 * Making a CA: root, intermediate, the root's list, register, configuration.
 *
 * @module
 */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Data, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { parseCertificate } from "../../pki/certificate.ts";
import { issueCrl, issueIntermediate, issueRoot } from "../../pki/issue/mod.ts";
import { trustDomainNamePattern } from "../../pki/trust_domain_name.ts";
import { writeWhole } from "../files/write_whole.ts";
import { backdateMs, keyHash } from "./certificate_authority.ts";
import { enterLists } from "./crl_rows.ts";
import { crlRowOf } from "./make_lists.ts";
import { Register } from "./register.ts";
import { isCaUrl } from "./token.ts";

const dayMs = 24 * 60 * 60_000;
/** Lives of the certificates and of the root's list, in milliseconds. */
export const caLivesMs = { root: 3_652 * dayMs, intermediate: 730 * dayMs, rootList: 396 * dayMs } as const;

/** What an operator says about a new CA. */
export interface InitRequest {
  readonly domain: string;
  readonly url: string;
  readonly name: string;
  /** Addresses of gateways. */
  readonly gateways: readonly string[];
  /** The folder; it is made, or empty. */
  readonly folder: string;
}

/** A CA could not be made. */
export class InitFailed extends Data.TaggedError("InitFailed")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot make CA: ${this.detail}`;
  }
}

/** What was made. */
export interface MadeCa {
  readonly config: string;
  /** To be taken offline. */
  readonly rootKey: string;
  readonly rootListEnds: Date;
}

/** Makes a CA in a folder of its own, 0700. */
export function initCa(request: InitRequest, at: Date): Effect.Effect<MadeCa, InitFailed, FileSystem | Path> {
  const { domain, url, folder } = request;
  const file = (name: string) => join(folder, name);
  return Effect.gen(function* () {
    yield* Effect.fromResult(checkRequest(request));
    const { root, intermediate, list, number, rootListEnds } = yield* Effect.tryPromise({
      try: () => makeCertificates(domain, at),
      catch: failed,
    });
    yield* Effect.try({ try: () => makeFolder(folder), catch: failed });
    const register = yield* Effect.mapError(Effect.fromResult(Register.create(join(folder, "state", "ca.db"))), failed);
    const issuer = keyHash(Result.getOrThrow(parseCertificate(root.der)).publicKey.spki);
    const row = crlRowOf(list, { issuer, kind: "complete", number, upto: 0, thisUpdate: at, nextUpdate: rootListEnds });
    const entered = register.transaction<void, never>((rows) => Result.succeed(enterLists(rows, [row])));
    register.close();
    yield* Effect.mapError(Effect.fromResult(entered), failed);
    const files = [
      { path: file("root-key.pem"), content: root.keyPem, mode: 0o600 },
      { path: file("root-cert.pem"), content: root.certPem },
      { path: file("root-crl.pem"), content: list },
      { path: file("ca-key.pem"), content: intermediate.keyPem, mode: 0o600 },
      { path: file("ca-cert.pem"), content: intermediate.certPem + root.certPem },
      { path: file("ca.toml"), content: configText(request) },
    ];
    yield* Effect.mapError(writeWhole(files, "keep"), failed);
    return { config: file("ca.toml"), rootKey: file("root-key.pem"), rootListEnds };
  });

  function configText({ name, gateways }: InitRequest): string {
    const values = {
      domain,
      url,
      name,
      listen_https: `0.0.0.0:${new URL(url).port || "443"}`,
      chain_pem: "ca-cert.pem",
      key_pem: "ca-key.pem",
      state_dir: "state",
      gateways,
    };
    const lines = Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    return ["[ca]", ...lines, ""].join("\n");
  }
}

const failed = (error: unknown) => new InitFailed({ detail: error instanceof Error ? error.message : String(error) });

function checkRequest({ domain, url, name, gateways }: InitRequest): Result.Result<void, InitFailed> {
  const detail = !trustDomainNamePattern.test(domain)
    ? `${JSON.stringify(domain)} is no trust domain's name`
    : !isCaUrl(url)
    ? `${JSON.stringify(url)} is not https://HOST[:PORT]`
    : !/^[A-Za-z0-9_-][\w.-]{0,63}$/.test(name)
    ? `${JSON.stringify(name)} is no name`
    : gateways.find((address) => !address.startsWith("/"));
  return detail === undefined ? Result.void : Result.fail(new InitFailed({ detail }));
}

async function makeCertificates(domain: string, at: Date) {
  const notBefore = new Date(+at - backdateMs);
  const until = (ms: number) => new Date(+at + ms);
  const names = { organization: domain.slice(0, 64) };
  const root = await issueRoot({ commonName: "Root CA", ...names, notBefore, notAfter: until(caLivesMs.root) });
  const intermediate = await issueIntermediate({
    ...{ commonName: "Issuing CA", ...names, issuer: root, notBefore },
    notAfter: until(caLivesMs.intermediate),
  });
  const rootListEnds = until(caLivesMs.rootList);
  const number = BigInt(Math.floor(+at / 1_000));
  const dates = { thisUpdate: notBefore, nextUpdate: rootListEnds };
  const list = await issueCrl({ issuer: root, revoked: [], number, ...dates });
  return { root, intermediate, list, number, rootListEnds };
}

function makeFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (readdirSync(folder).length > 0) throw new Error(`${folder} is not empty`);
  mkdirSync(join(folder, "state"), { mode: 0o700 });
}
