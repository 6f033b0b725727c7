/**
 * A partner organisation: a second trust domain of all nodes, whose CA misbehaves. It issues certificates that name the nodes' own
 * domain, lists serials of their certificates, and changes its files without pause.
 *
 * @module
 */
import { type Authority, type Credential, type CredentialRequest, makeAuthority } from "./authority.ts";

/** The partner's domain. Its members may be workers only. */
export const partnerName = "partner.hypha";
export const partnerRoles = ["worker"] as const;
/** Lists that it publishes one after the other, over and over. */
const listsMax = 4;

/** A certificate that involves the partner's domain, and why no node may accept it; undefined where each may. */
export interface PartnerCredential {
  readonly credential: Credential;
  /** The certificate of its issuer. */
  readonly above: Uint8Array;
  readonly never: string | undefined;
}

/** What a partner issued before a run began. */
export interface Partner {
  /** Its files at first; afterwards it changes them between these. */
  readonly trustPem: string;
  readonly bundles: readonly string[];
  readonly crls: readonly string[];
  readonly credentials: ReadonlyMap<string, PartnerCredential>;
}

type Period = Pick<CredentialRequest, "notBefore" | "notAfter">;

/** Its keys are the same in all runs, so the process issues for it once. */
let authorityMade: Promise<Authority> | undefined;

/** Issues for a partner. `ours`: certificates of the nodes, whose serials its lists name. */
export async function makePartner(
  own: Authority,
  { period, ours }: { readonly period: Period; readonly ours: readonly Credential[] },
): Promise<Partner> {
  const years = { from: period.notBefore, to: new Date(period.notAfter.getTime() + 3_650 * 86_400_000) };
  authorityMade ??= makeAuthority("partner", years);
  const partner = await authorityMade;
  const credentials = new Map<string, PartnerCredential>();
  const add = async (
    issuer: Authority,
    name: string,
    about: { readonly role: string; readonly domain?: string; readonly never?: string },
  ) => {
    const { role, domain, never } = about;
    const credential = await issuer.node(name, { ...period, role, ...(domain === undefined ? {} : { domain }) });
    credentials.set(name, { credential, above: issuer.intermediate.der, never });
  };
  await add(partner, "partner/member", { role: "worker", domain: partnerName });
  await add(partner, "partner/scheduler", {
    role: "scheduler",
    domain: partnerName,
    never: "its role is not the partner's",
  });
  await add(partner, "partner/ours", { role: "worker", never: "the partner's CA names our domain" });
  await add(own, "partner/theirs", { role: "worker", domain: partnerName, never: "our CA names the partner's domain" });
  const times = { thisUpdate: period.notBefore, nextUpdate: period.notAfter };
  const crls: string[] = [];
  for (let number = 1; number <= listsMax; number++) {
    crls.push(await partner.crls({ number, ...times, revoked: ours.slice(0, number * 3), revokedCas: [] }));
  }
  const bundles = [partner.trustPem, partner.trustPem + own.other.certPem, partner.trustPem.slice(0, -40)];
  return { trustPem: partner.trustPem, bundles, crls, credentials };
}
