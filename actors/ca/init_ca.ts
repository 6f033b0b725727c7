/**
 * Making a CA: root, intermediate, the root's list, register, configuration.
 *
 * @module
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Data, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { fileSigner, issueIntermediate, issueRoot, issuerWith } from "../../pki/issue/mod.ts";
import { issueCrlDer } from "../../pki/issue/issue_crl.ts";
import type { ApprovalPolicy } from "../../pki/approval/approval_policy.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { trustDomainNamePattern } from "../../pki/trust_domain_name.ts";
import { writeWhole } from "../files/write_whole.ts";
import { backdateMs } from "./backdate.ts";
import { readGateway } from "./ca_config.ts";
import { keyHash, makeAuthority } from "./certificate_authority.ts";
import { madeCrl } from "./compose_lists.ts";
import { enterLists, type MadeCrl } from "./crl_rows.ts";
import { findRecords, type FoundCa, type FoundList } from "./find_records.ts";
import { type Imported, importRecords, type ReadRecords, readRecords } from "./import_records.ts";
import { enterFirstPolicy } from "./operator_acts.ts";
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
  /** Gateways as in the configuration: `NAME=ADDRESS`, or an address. */
  readonly gateways: readonly string[];
  /** The folder; it is made, or empty. */
  readonly folder: string;
  /** A folder of `hypha-certutil` whose CA is taken over. */
  readonly from?: string | undefined;
  /** Who approves operations, and which; nothing waits for approvals where it is undefined. */
  readonly policy?: ApprovalPolicy | undefined;
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
  /** To be taken offline; undefined where another CA was taken over. */
  readonly rootKey: string | undefined;
  /** When the root's list ends; undefined where none was found. */
  readonly rootListEnds: Date | undefined;
  /** What was taken over. */
  readonly imported: Imported | undefined;
}

/** Makes a CA in a folder of its own, 0700; or takes over one of `hypha-certutil`. */
export function initCa(request: InitRequest, at: Date): Effect.Effect<MadeCa, InitFailed, FileSystem | Path> {
  const { from, folder } = request;
  const file = (name: string) => join(folder, name);
  return Effect.gen(function* () {
    yield* Effect.fromResult(checkRequest(request));
    const parts = from === undefined
      ? yield* Effect.tryPromise({ try: () => makeCertificates(request.domain, at), catch: failed })
      : yield* Effect.mapError(Effect.fromResult(Result.flatMap(findRecords(from), partsOf)), failed);
    const imported = yield* writeCa(parts, request, at);
    return {
      config: file("ca.toml"),
      rootKey: parts.rootKeyPem === undefined ? undefined : file("root-key.pem"),
      rootListEnds: parts.rootList === undefined ? undefined : new Date(parts.rootList.next_update),
      imported,
    };
  });
}

/** Writes the CA into its folder. Where that fails, or is interrupted, what it made is removed: init can be called again. */
function writeCa(parts: CaParts, request: InitRequest, at: Date) {
  const { folder } = request;
  return Effect.uninterruptibleMask((interruptible) =>
    Effect.gen(function* () {
      const isNew = yield* Effect.try({ try: () => makeFolder(folder), catch: failed });
      const written = Effect.gen(function* () {
        const register = yield* Effect.fromResult(Register.create(join(folder, "state", "ca.db")));
        const filled = interruptible(fill(register, parts, request, at));
        const imported = yield* Effect.ensuring(filled, Effect.sync(() => register.close()));
        yield* writeWhole(filesOf(parts, request), "keep");
        return imported;
      });
      const removed = Effect.sync(() => removeMade(folder, isNew));
      return yield* Effect.onError(Effect.mapError(written, failed), () => removed);
    })
  );
}

/** What a CA consists of. */
interface CaParts {
  /** The CA that signs, the root behind it. */
  readonly chainPem: string;
  readonly keyPem: string;
  readonly rootPem: string;
  readonly rootKeyPem: string | undefined;
  readonly rootList: MadeCrl | undefined;
  readonly records: ReadRecords | undefined;
}

function partsOf({ chainPem, keyPem, root, records, rootList }: FoundCa) {
  const rootPem = formatPem("CERTIFICATE", root.der);
  return Result.gen(function* () {
    const issuer = yield* Result.try({ try: () => issuerWith(chainPem, fileSigner(keyPem)), catch: (error) => error });
    const read = yield* readRecords(records, issuer);
    const parts = { chainPem, keyPem, rootPem, rootKeyPem: undefined, records: read };
    return { ...parts, rootList: rootList && rowOf(rootList, root) } satisfies CaParts;
  });
}

/** The row of a root's list. One without its next update is over at once. */
function rowOf({ list, der }: FoundList, root: Certificate): MadeCrl {
  const { number = "0", thisUpdate, nextUpdate } = list;
  return madeCrl(der, {
    ...{ issuer: keyHash(root.publicKey.spki), kind: "complete", upto: 0, number: BigInt(number) },
    ...{ thisUpdate, nextUpdate: nextUpdate ?? thisUpdate },
  });
}

/** Enters the approvers. */
function enterApprovers(register: Register, { policy }: InitRequest, chain: readonly Uint8Array[]) {
  if (policy === undefined) return Result.void;
  const issues = keyHash(Result.getOrThrow(parseCertificate(chain[0]!)).publicKey.spki);
  return register.transaction<void, never>((rows) =>
    Result.succeed(enterFirstPolicy(rows, policy, { issues, next: [], retired: [] }))
  );
}

function filesOf({ chainPem, keyPem, rootPem, rootKeyPem, rootList }: CaParts, request: InitRequest) {
  const file = (name: string) => join(request.folder, name);
  return [
    ...(rootKeyPem === undefined ? [] : [{ path: file("root-key.pem"), content: rootKeyPem, mode: 0o600 }]),
    { path: file("root-cert.pem"), content: rootPem },
    ...(rootList === undefined ? [] : [{ path: file("root-crl.pem"), content: formatPem("X509 CRL", rootList.der) }]),
    { path: file("ca-key.pem"), content: keyPem, mode: 0o600 },
    { path: file("ca-cert.pem"), content: chainPem },
    { path: file("ca.toml"), content: configText(request) },
    ...(request.policy === undefined ? [] : [{ path: file("approvers.json"), content: `${request.policy.line}\n` }]),
  ];
}

/** Enters the root's list, and what another tool recorded. */
function fill(
  register: Register,
  { rootList, records, chainPem, keyPem }: CaParts,
  request: InitRequest,
  at: Date,
) {
  const { domain, url } = request;
  return Effect.gen(function* () {
    const chain = Result.getOrThrow(parsePem(chainPem)).map(({ der }) => Uint8Array.from(der));
    yield* Effect.fromResult(enterApprovers(register, request, chain));
    if (rootList !== undefined) {
      yield* Effect.fromResult(
        register.transaction<void, never>((rows) => Result.succeed(enterLists(rows, [rootList]))),
      );
    }
    if (records === undefined) return undefined;
    const terms = {
      domain,
      url,
      gateways: [],
      retiredIssuers: [],
      approvedRoles: [],
      renewAfterExpiryMs: 0,
      onAlarm: () => {},
    };
    const made = makeAuthority({ ...terms, register, signer: fileSigner(keyPem), chain, lifetimeMs: () => 0 });
    return yield* importRecords(yield* Effect.fromResult(made), records, at);
  });
}

function configText({ domain, url, name, gateways }: InitRequest): string {
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

const failed = (error: unknown) => new InitFailed({ detail: error instanceof Error ? error.message : String(error) });

function checkRequest({ domain, url, name, gateways }: InitRequest): Result.Result<void, InitFailed> {
  const notGateway = gateways.find((each) => readGateway(each) === undefined);
  const detail = !trustDomainNamePattern.test(domain)
    ? `${JSON.stringify(domain)} is no trust domain's name`
    : !isCaUrl(url)
    ? `${JSON.stringify(url)} is not https://HOST[:PORT]`
    : !/^[A-Za-z0-9_-][\w.-]{0,63}$/.test(name)
    ? `${JSON.stringify(name)} is no name`
    : notGateway === undefined
    ? undefined
    : `--gateway ${JSON.stringify(notGateway)} is not NAME=ADDRESS, such as gateway-01=/dns4/gw.acme.example/tcp/4001`;
  return detail === undefined ? Result.void : Result.fail(new InitFailed({ detail }));
}

async function makeCertificates(domain: string, at: Date): Promise<CaParts> {
  const notBefore = new Date(+at - backdateMs);
  const until = (ms: number) => new Date(+at + ms);
  const names = { organization: domain.slice(0, 64) };
  const root = await issueRoot({ commonName: "Root CA", ...names, notBefore, notAfter: until(caLivesMs.root) });
  const intermediate = await issueIntermediate({
    ...{ commonName: "Issuing CA", ...names, issuer: root, notBefore },
    notAfter: until(caLivesMs.intermediate),
  });
  const number = BigInt(Math.floor(+at / 1_000));
  const dates = { thisUpdate: notBefore, nextUpdate: until(caLivesMs.rootList) };
  const list = await issueCrlDer({ issuer: root, revoked: [], number, ...dates });
  const issuer = keyHash(Result.getOrThrow(parseCertificate(root.der)).publicKey.spki);
  return {
    chainPem: intermediate.certPem + root.certPem,
    keyPem: intermediate.keyPem,
    rootPem: root.certPem,
    rootKeyPem: root.keyPem,
    rootList: madeCrl(list, { issuer, kind: "complete", number, upto: 0, ...dates }),
    records: undefined,
  };
}

/** Makes the folder where it is missing, and that of the state in it. Returns whether it was missing. */
function makeFolder(folder: string): boolean {
  const isNew = !existsSync(folder);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (readdirSync(folder).length > 0) throw new Error(`${folder} is not empty`);
  mkdirSync(join(folder, "state"), { mode: 0o700 });
  return isNew;
}

/** Removes what a failed init made; the folder itself where it is new and holds nothing of another program. */
function removeMade(folder: string, isNew: boolean): void {
  try {
    rmSync(join(folder, "state"), { recursive: true });
    if (isNew) rmdirSync(folder);
  } catch {
    // The reason why init failed is reported.
  }
}
