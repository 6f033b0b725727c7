/**
 * The certificates of hostile members, and which of them the seed's first revocation revokes too.
 *
 * @module
 */
import { randomOf } from "../runtime/random.ts";
import type { Authority, Credential } from "./authority.ts";
import { liarsMax } from "./forger.ts";
import { ruledName } from "./ruled_member.ts";
import { squatterRoles } from "./squatter.ts";

/** Members of a crowd. The last ones, which connect last, are revoked. */
export const crowdSize = 16;
const crowdGone = 3;

type Period = Readonly<Record<"notBefore" | "notAfter", Date>>;

/** Issues the certificates that these kinds of trouble need, by name. */
export async function memberCredentials(
  authority: Authority,
  kinds: ReadonlySet<string>,
  period: Period,
): Promise<ReadonlyMap<string, Credential>> {
  const made = new Map<string, Credential>();
  const add = async (name: string, request: Omit<Parameters<Authority["node"]>[1], keyof Period>) => {
    const credential = await authority.node(name, { ...period, ...request });
    made.set(name, credential);
    return credential;
  };
  if (kinds.has("second-certificate")) {
    const { keyPem } = await add("second/first", { role: "worker" });
    await add("second/role", { role: "scheduler", keyPem });
    // The same member: only the serial differs.
    made.set("second/serial", await authority.node("second/first", { ...period, role: "worker", edition: 2, keyPem }));
  }
  if (kinds.has("crowd")) {
    for (let nth = 1; nth <= crowdSize; nth++) await add(`crowd/${nth}`, { role: "worker" });
  }
  if (kinds.has("forger")) {
    for (let nth = 1; nth <= liarsMax; nth++) await add(`forger/${nth}`, { role: nth === 1 ? "data" : "worker" });
    for (const role of squatterRoles) await add(`forger/squatter/${role}`, { role });
    await add("forger/gone", { role: "scheduler" });
    await add("forger/stranger", { role: "data", issuer: "stranger" });
  }
  if (kinds.has("expensive")) await add("expensive", { role: "worker" });
  if (kinds.has("mute")) await add("mute", { role: "scheduler" });
  if (kinds.has("wrong-role") || kinds.has("denied")) {
    for (const role of ["gateway", "scheduler", "worker", "data"]) await add(`acting/${role}`, { role });
  }
  if (kinds.has("relayed")) await add("relayed", { role: "scheduler" });
  if (kinds.has("rules")) await add(ruledName, { role: "worker" });
  return made;
}

/** Whether a credential is a member's, which only a list may exclude. */
export function isMemberName(name: string): boolean {
  return /^(second|crowd|forger|acting)\//.test(name) && name !== "forger/stranger" ||
    ["expensive", "mute", "relayed", ruledName].includes(name);
}

/** Of these credentials, those that the first revocation of a run revokes. */
export function revokedMembers(
  credentials: ReadonlyMap<string, Credential>,
  seed: number,
): ReadonlyMap<string, Credential> {
  const firstGoes = randomOf(seed, "second-certificate/gone").chance(0.5);
  const isGone = (name: string) => {
    const [kind, which] = name.split("/");
    if (kind === "second") return (which === "first") === firstGoes;
    if (kind === "crowd") return Number(which) > crowdSize - crowdGone;
    return name === "forger/gone";
  };
  return new Map([...credentials].filter(([name]) => isMemberName(name) && isGone(name)));
}
