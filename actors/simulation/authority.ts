/**
 * The certification authorities of simulated organisations: real keys, certificates and lists; which one, the seed says.
 *
 * Issuing waits for signatures, so everything that a run will publish is made before its first step.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import {
  issueCrl,
  type Issued,
  issueIntermediate,
  issueNode,
  type IssuerFiles,
  issueRoot,
} from "../../pki/issue/mod.ts";
import { formatPem } from "../../pki/pem.ts";
import { randomOf } from "../runtime/random.ts";

/** A CA, or a node's certificate, with what tells it in a list. */
export interface Credential extends Issued {
  readonly name: string;
  /** Content octets of the serial, hexadecimal. */
  readonly serial: string;
  /** The certificate, then its intermediate: what a node's `cert_pem` holds. */
  readonly chainPem: string;
}

/** What a certificate says beside the name. */
export interface CredentialRequest {
  readonly role?: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** Tells apart several certificates of one name; the key is another too, unless `keyPem` is given. */
  readonly edition?: number;
  readonly keyPem?: string;
  readonly issuer?: "intermediate" | "other" | "stranger" | "itself";
}

/** One organisation: a root, two intermediates, and a stranger's CA that nobody trusts. */
export interface Authority {
  readonly root: Credential;
  readonly intermediate: Credential;
  readonly other: Credential;
  readonly trustPem: string;
  node(name: string, request: CredentialRequest): Promise<Credential>;
  /** All three lists in one PEM. */
  crls(request: CrlsRequest): Promise<string>;
}

/** Lists to make; serials are revoked by the intermediate, or by the root where they are CAs'. */
export interface CrlsRequest {
  readonly number: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly revoked: readonly Credential[];
  readonly revokedCas?: readonly Credential[];
}

const pkcs8Head = Buffer.from("302e020100300506032b657004220420", "hex");

/** An Ed25519 key whose seed is drawn: PKCS#8 version 1, PEM. */
export function keyOf(seed: number | string, name: string): string {
  return formatPem("PRIVATE KEY", Buffer.concat([pkcs8Head, randomOf(seed, `key/${name}`).bytes(32)]));
}

/**
 * Organisations that seeds are spread over. Issuing costs as much as a minute of a run's time, and teaches nothing the
 * tenth time: what an organisation once issued is remembered in the process, so that later seeds of the same one find it.
 */
export const organisationsMax = 8;
/** What is remembered of one organisation: certificates and sets of lists. */
const issuedMax = 512;

const organisations = new Map<number, Promise<Authority>>();

/** The organisation of a seed: keys and serials are drawn from its number, and it issues the same thing twice the same. */
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
  const serialOf = (name: string) => Uint8Array.of(0x40, ...randomOf(seed, `serial/${name}`).bytes(15));
  const validity = { notBefore: period.from, notAfter: period.to };
  const credential = (name: string, issued: Issued, above: readonly Issued[] = []): Credential => ({
    ...issued,
    name,
    serial: new X509Certificate(issued.der).serialNumber.toLowerCase(),
    chainPem: [issued, ...above].map(({ certPem }) => certPem).join(""),
  });
  const rootNamed = async (name: string) =>
    credential(
      name,
      await issueRoot({
        commonName: name,
        organization: "Sim",
        ...validity,
        keyPem: keyOf(seed, name),
        overrides: { serial: serialOf(name) },
      }),
    );
  const under = async (name: string, issuer: IssuerFiles) =>
    credential(
      name,
      await issueIntermediate({
        issuer,
        commonName: name,
        organization: "Sim",
        ...validity,
        keyPem: keyOf(seed, name),
        overrides: { serial: serialOf(name) },
      }),
    );
  const root = await rootNamed("Root");
  const [intermediate, other, stranger] = await Promise.all([
    under("Intermediate", root),
    under("Other", root),
    rootNamed("Stranger"),
  ]);
  const issuers = { intermediate, other, stranger };
  return {
    root,
    intermediate,
    other,
    trustPem: root.certPem,
    node: async (name, request) => {
      const { role, edition = 1, issuer = "intermediate", notBefore, notAfter } = request;
      const key = request.keyPem ?? keyOf(seed, `${name}/${edition}`);
      const san = role === undefined ? {} : { san: [`URI:spiffe://sim.hypha/${role}/${name}`] };
      const common = {
        commonName: name,
        notBefore,
        notAfter,
        keyPem: key,
        ...san,
        overrides: { serial: serialOf(`${name}/${edition}/${issuer}`) },
      };
      if (issuer !== "itself") {
        const ca = issuers[issuer];
        return credential(name, await issueNode({ issuer: ca, ...common }), issuer === "stranger" ? [] : [ca]);
      }
      const ownCa = await issueRoot({
        commonName: name,
        notBefore,
        notAfter,
        keyPem: key,
        overrides: { serial: serialOf(name) },
      });
      return credential(name, await issueNode({ issuer: ownCa, ...common }));
    },
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
