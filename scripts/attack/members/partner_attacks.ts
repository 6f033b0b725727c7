/**
 * A partner organisation, whose CA the nodes trust for its own name, turns hostile.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { writeFileSync } from "node:fs";
import { Result } from "effect";
import { parseCertificate } from "../../../pki/certificate.ts";
import { type IssuerFiles, issueRoot } from "../../../pki/issue/mod.ts";
import { subjectKeyId } from "../../../pki/issue/extensions.ts";
import { type AttackMeans, holds, type MemberAttack, pause } from "./attack.ts";
import { issueMember, partnerListOf, partnerName, partnerPlacesOf } from "./world.ts";

/** Whether a member that this network revokes is closed in time. */
async function revokes(means: AttackMeans): Promise<void> {
  const certificate = await means.certificate("worker");
  const member = await means.member(certificate);
  const connection = await member.connect(means.place.address);
  await means.revoke(certificate);
  if (!await holds(() => connection.status !== "open", means.actsWithinMs)) {
    means.escaped("a revocation of this network's own had no effect");
  }
}

/** The partner's lists change as fast as files can be written. */
const floodsTrust: MemberAttack = {
  id: "partner-floods-trust-changes",
  target: "gateway",
  group: "partner",
  expected: { codes: ["certificate-revoked"] },
  run: async (means) => {
    const { crlsPem } = partnerPlacesOf(means.world);
    let going = true;
    const flood = (async () => {
      for (let number = 2n; going; number++) {
        means.attempts += 1;
        writeFileSync(crlsPem, await partnerListOf(means.world.partner, number, 1_000));
        await pause(20);
      }
    })();
    await pause(means.pick(200, 10_000));
    await revokes(means);
    await pause(means.pick(0, 10_000));
    going = false;
    await flood;
  },
};

/** Shows certificates that a CA signed for a name that is not its own. */
const foreignNames = (
  id: string,
  expected: MemberAttack["expected"],
  of: (means: AttackMeans) => { readonly issuer: IssuerFiles; readonly domain: string },
): MemberAttack => ({
  id,
  target: "gateway",
  group: "partner",
  expected,
  run: async (means) => {
    for (const role of ["gateway", "scheduler", "worker", "data", "none"] as const) {
      if (role === "none" && of(means).issuer === means.world.ca) continue;
      means.attempts += 1;
      const member = await means.member(
        await issueMember(means.world, `${id}.${role}`, { role, ...of(means) }),
      );
      const connection = await member.connect(means.place.address).catch(() => undefined);
      if (connection === undefined) continue;
      if (!await holds(() => connection.status !== "open", means.actsWithinMs)) means.escaped(`a ${role} came in`);
    }
  },
});

const namesOurs = foreignNames(
  "partner-names-our-domain",
  { codes: ["name-constraint", "role-not-allowed"] },
  ({ world: { partner } }) => ({ issuer: partner, domain: "attacked.hypha" }),
);
const namesPartners = foreignNames(
  "own-ca-names-partners-domain",
  { codes: ["name-constraint"] },
  ({ world: { ca } }) => ({ issuer: ca, domain: partnerName }),
);

/** A CA with the name and the key id of this network's intermediate, and a list with a number that no list of ours can reach. */
const freezesLists: MemberAttack = {
  id: "partner-freezes-our-lists",
  target: "gateway",
  group: "frozen lists",
  expected: { codes: ["certificate-revoked"] },
  run: async (means) => {
    const { trust, crlsPem } = partnerPlacesOf(means.world);
    means.attempts += 1;
    const double = await doubleOf(means.world.ca);
    writeFileSync(trust, means.world.partner.certPem + double.certPem);
    writeFileSync(
      crlsPem,
      await partnerListOf(means.world.partner, 1_000_000n) + await partnerListOf(double, 10n ** 40n),
    );
    await pause(means.pick(500, 3_000));
    try {
      await revokes(means);
    } finally {
      writeFileSync(trust, means.world.partner.certPem);
      writeFileSync(crlsPem, await partnerListOf(means.world.partner, 1_000_001n));
    }
  },
};

/** A CA of another key that claims the name and the key id of a CA. */
function doubleOf(ca: IssuerFiles): Promise<IssuerFiles> {
  const der = Uint8Array.from(atob(ca.certPem.replace(/-----[^-]*-----|\s/g, "")), (letter) => letter.charCodeAt(0));
  const { subjectKeyId: keyId } = Result.getOrThrow(parseCertificate(der, 0));
  const now = Date.now();
  return issueRoot({
    commonName: "Attacked CA",
    organization: "Attacked",
    notBefore: new Date(now - 86_400_000),
    notAfter: new Date(now + 86_400_000),
    overrides: { add: keyId === undefined ? [] : [subjectKeyId(Buffer.from(keyId, "hex"))] },
  });
}

/** The attacks. */
export const partnerAttacks: readonly MemberAttack[] = [floodsTrust, namesOurs, namesPartners, freezesLists];
