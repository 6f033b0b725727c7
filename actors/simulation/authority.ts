/**
 * The certification authorities of simulated organisations: real keys, certificates and lists. The seed chooses the
 * organisation.
 *
 * Issuing waits for signatures, so everything that a run will publish is issued before its first step.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { Result } from "effect";
import { parseCertificate } from "../../pki/certificate.ts";
import {
  issueCrl,
  type Issued,
  issueIntermediate,
  issueNode,
  type IssuerFiles,
  issueRoot,
} from "../../pki/issue/mod.ts";
import { peerIdOf } from "../../pki/peer_id.ts";
import { formatPem } from "../../pki/pem.ts";
import type { PeerText } from "../../transport/port.ts";
import { randomOf } from "../runtime/random.ts";

/** The certificate of a CA or a node, with its serial for lists. */
export interface Credential extends Issued {
  readonly name: string;
  /** Content octets of the serial, hexadecimal. */
  readonly serial: string;
  /** The certificate, then its intermediate: what a node's `cert_pem` holds. */
  readonly chainPem: string;
}

/** The content of a certificate, except the name. */
export interface CredentialRequest {
  readonly role?: string;
  /** Of its SPIFFE name, where it has a role; the organisation's own by default. */
  readonly domain?: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Tells apart several certificates of one name; each has its own key, unless `keyPem` is given. */
  readonly edition?: number;
  readonly keyPem?: string;
  readonly issuer?: "intermediate" | "other" | "stranger" | "itself";
}

/** One organisation: a root, two intermediates, and a stranger's CA that no node trusts. */
export interface Authority {
  readonly root: Credential;
  readonly intermediate: Credential;
  readonly other: Credential;
  readonly trustPem: string;
  node(name: string, request: CredentialRequest): Promise<Credential>;
  /** All three lists in one PEM. */
  crls(request: CrlsRequest): Promise<string>;
}

/** Lists to issue. The intermediate revokes nodes, the root revokes CAs. */
export interface CrlsRequest {
  readonly number: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly revoked: readonly Credential[];
  readonly revokedCas?: readonly Credential[];
}

/** The PeerID of a certificate's key. */
export function peerOfCredential({ der }: Pick<Credential, "der">): PeerText {
  const known = peers.get(der);
  if (known !== undefined) return known;
  const peer = Result.getOrThrow(Result.flatMap(parseCertificate(der), peerIdOf));
  peers.set(der, peer);
  return peer;
}

/** By certificate: an organisation's are the same for all its seeds. */
const peers = new WeakMap<Uint8Array, PeerText>();

const pkcs8Head = Buffer.from("302e020100300506032b657004220420", "hex");

/** An Ed25519 key whose seed is drawn: PKCS#8 version 1, PEM. */
export function keyOf(seed: number | string, name: string): string {
  return formatPem("PRIVATE KEY", Buffer.concat([pkcs8Head, randomOf(seed, `key/${name}`).bytes(32)]));
}

/**
 * Organisations that seeds are spread over. Issuing costs as much CPU time as a minute of a run, so the process caches what
 * an organisation issued for later seeds of the same one.
 */
export const organisationsMax = 8;
/** Certificates and sets of lists that are cached for one organisation. */
const issuedMax = 512;

const organisations = new Map<number, Promise<Authority>>();

/** The organisation of a seed. Keys and serials are drawn from its number: equal requests give equal certificates. */
export function organisationOf(seed: number | string, period: { from: Date; to: Date }): Promise<Authority> {
  const number = randomOf(seed, "organisation").whole(0, organisationsMax);
  const known = organisations.get(number);
  if (known !== undefined) return known;
  const made = makeAuthority(`organisation ${number}`, period).then(remembering);
  organisations.set(number, made);
  return made;
}

function remembering(authority: Authority): Authority {
  const issued = new Map<string, Promise<unknown>>();
  const once = <A>(key: string, make: () => Promise<A>): Promise<A> => {
    const before = issued.get(key);
    if (before !== undefined) return before as Promise<A>;
    const made = make();
    if (issued.size >= issuedMax) issued.delete(issued.keys().next().value as string);
    issued.set(key, made);
    return made;
  };
  const serials = (list: readonly Credential[] = []) => list.map(({ serial }) => serial).join(" ");
  return {
    ...authority,
    node: (name, request) => once(JSON.stringify([name, request]), () => authority.node(name, request)),
    crls: (request) => {
      const { revoked, revokedCas, ...rest } = request;
      return once(JSON.stringify([rest, serials(revoked), serials(revokedCas)]), () => authority.crls(request));
    },
  };
}

/** Makes authorities whose keys are drawn from `seed`. */
export async function makeAuthority(seed: number | string, period: { from: Date; to: Date }): Promise<Authority> {
  const makers = makersOf(seed, period);
  const root = await makers.root("Root");
  const [intermediate, other, stranger] = await Promise.all([
    makers.intermediate("Intermediate", root),
    makers.intermediate("Other", root),
    makers.root("Stranger"),
  ]);
  return {
    root,
    intermediate,
    other,
    trustPem: root.certPem,
    node: (name, request) => makers.node({ intermediate, other, stranger }, name, request),
    crls: async ({ number, thisUpdate, nextUpdate, revoked, revokedCas = [] }) => {
      const list = (issuer: Credential, entries: readonly Credential[]) =>
        issueCrl({
          issuer,
          number: BigInt(number),
          thisUpdate,
          nextUpdate,
          revoked: entries.map(({ serial }) => ({ serial, date: thisUpdate })),
        });
      const lists = await Promise.all([list(root, revokedCas), list(intermediate, revoked), list(other, [])]);
      return lists.join("");
    },
  };
}

/** The CAs that issue to nodes. */
type Issuers = Readonly<Record<"intermediate" | "other" | "stranger", Credential>>;

function credentialOf(name: string, issued: Issued, above: readonly Issued[] = []): Credential {
  return {
    ...issued,
    name,
    serial: new X509Certificate(issued.der).serialNumber.toLowerCase(),
    chainPem: [issued, ...above].map(({ certPem }) => certPem).join(""),
  };
}

/** Issues with keys and serials that are drawn from `seed`. */
function makersOf(seed: number | string, period: { from: Date; to: Date }) {
  const serialOf = (name: string) => ({ serial: Uint8Array.of(0x40, ...randomOf(seed, `serial/${name}`).bytes(15)) });
  const ca = (name: string) => ({
    commonName: name,
    organization: "Sim",
    notBefore: period.from,
    notAfter: period.to,
    keyPem: keyOf(seed, name),
    overrides: serialOf(name),
  });
  return {
    root: async (name: string) => credentialOf(name, await issueRoot(ca(name))),
    intermediate: async (name: string, issuer: IssuerFiles) =>
      credentialOf(name, await issueIntermediate({ issuer, ...ca(name) })),
    node: async (issuers: Issuers, name: string, request: CredentialRequest) => {
      const { role, domain = "sim.hypha", edition = 1, issuer = "intermediate", notBefore, notAfter } = request;
      const keyPem = request.keyPem ?? keyOf(seed, `${name}/${edition}`);
      const node = {
        commonName: name,
        notBefore,
        notAfter,
        keyPem,
        ...(role === undefined ? {} : { san: [`URI:spiffe://${domain}/${role}/${name}`] }),
        overrides: serialOf(`${name}/${edition}/${issuer}`),
      };
      if (issuer === "itself") {
        const own = await issueRoot({ commonName: name, notBefore, notAfter, keyPem, overrides: serialOf(name) });
        return credentialOf(name, await issueNode({ issuer: own, ...node }));
      }
      const issued = await issueNode({ issuer: issuers[issuer], ...node });
      return credentialOf(name, issued, issuer === "stranger" ? [] : [issuers[issuer]]);
    },
  };
}
