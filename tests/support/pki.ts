/**
 * A fresh PKI for tests: root → intermediate → nodes, Ed25519, made in a few milliseconds without a shell.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  issueCrl,
  type Issued,
  issueIntermediate,
  issueNode,
  type IssueOverrides,
  type IssuerFiles,
  issueRoot,
  type RevocationReason,
} from "../../pki/issue/mod.ts";

const dayMs = 24 * 60 * 60 * 1_000;

/** A node's certificate and what goes with it. */
export interface TestNode extends Issued {
  readonly name: string;
  /** The leaf, then the intermediate: what the node sends. */
  readonly chainPem: string;
  /** The same as DER. */
  readonly chain: readonly Uint8Array[];
  /** Content octets of the serial, hexadecimal. */
  readonly serial: string;
}

/** How a node's certificate differs from the usual. */
export interface TestNodeOptions {
  /** Alternative names; by default those of `issueNode` and the role, when one is given. */
  readonly san?: readonly string[];
  /** Adds `URI:spiffe://<domain>/<role>/<name>`. */
  readonly role?: string;
  /** In place of the intermediate; then the chain is the leaf alone. */
  readonly issuer?: IssuerFiles;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly keyPem?: string;
  /** `unchecked` lets a certificate that is no CA sign. */
  readonly issuerCheck?: "ca" | "unchecked";
  readonly overrides?: IssueOverrides;
}

/** Revocation lists to make. */
export interface TestCrlOptions {
  /** Serials, or what has one, revoked by the intermediate. */
  readonly revoked?: readonly (string | { readonly serial: string })[];
  /** Revoked by the root: the intermediate's serial for instance. */
  readonly revokedByRoot?: readonly (string | { readonly serial: string })[];
  readonly reason?: RevocationReason;
  readonly number?: bigint;
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
}

/** Where {@linkcode TestPki.write} put a node's files. */
export interface TestFiles {
  readonly certPath: string;
  readonly keyPath: string;
  readonly trustPath: string;
  readonly crlsPath: string;
}

/** A PKI of its own. */
export interface TestPki {
  readonly root: Issued;
  readonly intermediate: Issued & { readonly serial: string };
  /** The root's certificate alone. */
  readonly trustPem: string;
  /** Makes a node's certificate under the intermediate. */
  readonly node: (name: string, options?: TestNodeOptions) => Promise<TestNode>;
  /** A certificate that signed itself. */
  readonly selfSigned: (name: string) => Promise<TestNode>;
  /** Both CAs' lists in one PEM, as a `crls.pem` holds them. */
  readonly crls: (options?: TestCrlOptions) => Promise<string>;
  /** One list of one CA. */
  readonly crl: (issuer: IssuerFiles, options?: TestCrlOptions) => Promise<string>;
  /** Writes `<name>-cert.pem` (chain), `<name>-key.pem` (0600), `trust.pem` and, when given, `crls.pem` into `dir`. */
  readonly write: (dir: string, node: TestNode, crlsPem?: string) => Promise<TestFiles>;
}

/** What a PKI is made with. */
export interface TestPkiOptions {
  /** Tells the CAs of several PKIs apart. */
  readonly organization?: string;
  /** Trust domain of its nodes' roles. */
  readonly domain?: string;
  /** The CAs; fresh ones where undefined. */
  readonly cas?: { readonly root: Issued; readonly intermediate: Issued };
  /** The time around which everything is valid: from a day before to a year after. Now, by default. */
  readonly at?: Date;
}

/** Makes a fresh PKI. */
export async function makeTestPki(options: TestPkiOptions = {}): Promise<TestPki> {
  const { organization = "Test", at = new Date(), domain = "test.hypha", cas } = options;
  const period = { notBefore: new Date(at.getTime() - dayMs), notAfter: new Date(at.getTime() + 365 * dayMs) };
  const root = cas?.root ?? await issueRoot({ commonName: `${organization} Root CA`, organization, ...period });
  const intermediate = cas?.intermediate ?? await issueIntermediate({
    issuer: root,
    commonName: `${organization} Intermediate CA`,
    organization,
    ...period,
  });
  const crl = makeCrl(at);
  return {
    root,
    intermediate: { ...intermediate, serial: serialOf(intermediate.der) },
    trustPem: root.certPem,
    node: async (name, options = {}) => {
      const { role, issuer = intermediate, san, ...rest } = options;
      const uri = role === undefined ? [] : [`URI:spiffe://${domain}/${role}/${name}`];
      const names = san === undefined && role === undefined ? {} : { san: [...(san ?? []), ...uri] };
      const made = await issueNode({ issuer, commonName: name, ...period, ...names, ...definedOnly(rest) });
      const above = issuer === intermediate ? [intermediate] : [];
      return asNode(name, made, above);
    },
    selfSigned: async (name) => {
      const self = await issueNode({ issuer: root, commonName: name, ...period });
      const keys = {
        ...self,
        certPem: (await issueRoot({ commonName: name, ...period, keyPem: self.keyPem })).certPem,
      };
      const made = await issueNode({ issuer: keys, commonName: name, ...period, keyPem: self.keyPem });
      return asNode(name, made, []);
    },
    crl,
    crls: async (options = {}) =>
      await crl(root, { ...options, revoked: options.revokedByRoot ?? [] }) + await crl(intermediate, options),
    write: (dir, node, crlsPem) => writeFiles(dir, node, root.certPem, crlsPem),
  };
}

function definedOnly<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

function makeCrl(at: Date): TestPki["crl"] {
  return (issuer, options = {}) =>
    issueCrl({
      issuer,
      revoked: (options.revoked ?? []).map((entry) => ({
        serial: typeof entry === "string" ? entry : entry.serial,
        date: new Date(at.getTime() - 1_000),
        reason: options.reason,
      })),
      number: options.number ?? 1n,
      thisUpdate: options.thisUpdate ?? new Date(at.getTime() - dayMs),
      nextUpdate: options.nextUpdate ?? new Date(at.getTime() + 30 * dayMs),
    });
}

function asNode(name: string, made: Issued, above: readonly Issued[]): TestNode {
  return {
    ...made,
    name,
    chainPem: made.certPem + above.map(({ certPem }) => certPem).join(""),
    chain: [made.der, ...above.map(({ der }) => der)],
    serial: serialOf(made.der),
  };
}

/** Content octets of a certificate's serial, hexadecimal. */
export function serialOf(der: Uint8Array): string {
  const skip = (at: number) => at + ((der[at + 1]! & 0x80) === 0 ? 2 : 2 + (der[at + 1]! & 0x7f));
  const version = skip(skip(0));
  const at = version + 5;
  return Buffer.from(der.subarray(at + 2, at + 2 + der[at + 1]!)).toString("hex");
}

async function writeFiles(dir: string, node: TestNode, trustPem: string, crlsPem?: string): Promise<TestFiles> {
  const files = {
    certPath: join(dir, `${node.name}-cert.pem`),
    keyPath: join(dir, `${node.name}-key.pem`),
    trustPath: join(dir, "trust.pem"),
    crlsPath: join(dir, "crls.pem"),
  };
  await mkdir(dir, { recursive: true });
  await writeFile(files.certPath, node.chainPem);
  await writeFile(files.keyPath, node.keyPem, { mode: 0o600 });
  await writeFile(files.trustPath, trustPem);
  if (crlsPem !== undefined) await writeFile(files.crlsPath, crlsPem);
  return files;
}
