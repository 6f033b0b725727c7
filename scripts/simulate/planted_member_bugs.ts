/**
 * Deliberate defects in enrolment, renewal, the CA, and lists that travel. Scenarios about membership find them.
 *
 * @module
 */
import type { PlantedBug } from "./planted_bugs.ts";

const bug = (name: string, file: string, find: string, replace: string): PlantedBug => ({
  ...{ name, file, find, replace },
  family: "membership",
});

/** Planted bugs in approvals by several persons. */
const approvalBugs: readonly PlantedBug[] = [
  {
    name: "an approver who left still counts",
    file: "actors/ca/approved_acts.ts",
    find: "        enterPolicy(rows, operation.policy);\n",
    replace: "",
    family: "approvals",
  },
  {
    name: "one approval is enough",
    file: "actors/ca/judge_approvals.ts",
    find: "found.approvers.length >= found.policy.threshold",
    replace: "found.approvers.length >= 1",
    family: "approvals",
  },
];

/** Planted bugs about a CA whose key is in a token. */
const tokenBugs: readonly PlantedBug[] = [
  {
    name: "a certificate goes out where the token does not sign",
    file: "pki/issue/certificate_template.ts",
    find: "await signer.sign(tbs));",
    replace: "await signer.sign(tbs).catch(() => new Uint8Array(64)));",
    family: "hardware",
  },
  {
    name: "a node gives up while its CA cannot sign",
    file: "actors/enrolment/enrolment_refused.ts",
    find: '?? (hardwareMistakes.has(this.code) ? "never" : "later");',
    replace: '?? (hardwareMistakes.has(this.code) ? "later" : "never");',
    family: "hardware",
  },
  {
    name: "a node does not renew its identity",
    file: "actors/enrolment/identify.ts",
    find: "const isDue = +at >= renewAt(held.period, 1 / 2);",
    replace: "const isDue = +at < 0 && +at >= renewAt(held.period, 1 / 2);",
    family: "hardware",
  },
  {
    name: "a renewed identity has lost its role",
    file: "actors/ca/hardware_rows.ts",
    find: "ON c.fingerprint = line.predecessor",
    replace: "ON c.fingerprint = line.token",
    family: "hardware",
  },
  {
    name: "a revoked identity gets certificates",
    file: "actors/ca/identity_enrol.ts",
    find: "if (row.revoked !== null) return refuse(",
    replace: "if (row.revoked === 0) return refuse(",
    family: "hardware",
  },
  {
    name: "a name in hardware renews with its key of TLS",
    file: "actors/ca/reenrol.ts",
    find: "if (hardware !== undefined) {",
    replace: 'if (hardware === "") {',
    family: "hardware",
  },
];

/** Planted bugs about membership. */
export const plantedMemberBugs: readonly PlantedBug[] = [
  ...approvalBugs,
  ...tokenBugs,
  bug(
    "renewal forgets the fork",
    "actors/ca/reenrol.ts",
    "if (successor !== undefined && successor.key !== key) {",
    'if (successor !== undefined && successor.key === "") {',
  ),
  bug(
    "a revoked certificate renews",
    "actors/ca/reenrol.ts",
    "if (row.revoked !== null) return refuse(",
    "if (row.revoked === 0) return refuse(",
  ),
  bug(
    "a revoked serial leaves those that renewed it",
    "actors/ca/revoke.ts",
    "const fresh = page.filter((row) => row.revoked === null);",
    "const fresh = page.slice(0, 1).filter((row) => row.revoked === null);",
  ),
  bug(
    "a revocation enters no list",
    "actors/ca/revoke_page.ts",
    "        enterRevocations(rows, added);\n        enterLists(rows, lists);",
    "        enterRevocations(rows, added);",
  ),
  bug(
    "a list is believed without its signature",
    "actors/files/arriving_crls.ts",
    'return keyOfCrl(first) === key ? { ...first, number, sizeBytes } : "its issuer did not sign it";',
    'return key.length > 0 ? { ...first, number, sizeBytes } : "its issuer did not sign it";',
  ),
  bug(
    "a list ahead of its time is installed",
    "actors/files/arriving_crls.ts",
    "if (list.thisUpdate > at) return",
    "if (+list.thisUpdate > 8.64e15) return",
  ),
  bug(
    "a list is told to one neighbour",
    "actors/crl_exchange/exchange_actions.ts",
    "for (const peer of book.neighbours.peers()) tell(args, peer, notices);",
    "for (const peer of [...book.neighbours.peers()].slice(0, 1)) tell(args, peer, notices);",
  ),
  bug(
    "no delta is wanted",
    "actors/crl_exchange/book.ts",
    "if (base !== null || size <= wholeBytesMax || held === undefined) return true;",
    "if (base !== null) return false;\n    if (size <= wholeBytesMax || held === undefined) return true;",
  ),
  bug(
    "a node that is back without its lists is told none",
    "actors/crl_exchange/exchange_actions.ts",
    "  args.context.book.established(identity);\n  tell(args, identity.peer);",
    "  args.context.book.established(identity);",
  ),
  bug(
    "attempts to renew double without a bound",
    "actors/enrolment/schedule.ts",
    "const bounded = leftMs > 0 ? Math.min(step, leftMs * retryPart) : step;",
    "const bounded = leftMs * retryPart > step ? step : 8 * step;",
  ),
  bug(
    "the key of a request is not kept",
    "actors/enrolment/obtain.ts",
    'yield* key === "new" ? kept : Effect.ignore(kept);',
    'if (key === "same") yield* Effect.ignore(kept);',
  ),
  bug(
    "any member counts as the CA",
    "actors/enrolment/judge_ca.ts",
    "\\/ca\\/",
    "\\/[a-z]+\\/",
  ),
  bug(
    "a learned list is required of everybody",
    "pki/checks/revocation.ts",
    'index?.requirement === "optional" && found?.code',
    "index === undefined && found?.code",
  ),
  bug(
    "a token is anybody's who has another key",
    "actors/ca/enrol.ts",
    "if (row.used_key !== read.key) {",
    'if (row.used_key === "") {',
  ),
  bug(
    "a request's names enter the certificate",
    "pki/issue/sign_csr.ts",
    "const { subject, subjectText, names } = identityOf(request.identity);",
    `const { subject, subjectText, names: given } = identityOf(request.identity);
  const names = csr.names.length === 0 ? given : csr.names.map(issuable);`,
  ),
  bug(
    "a token gives role ca",
    "actors/ca/token_rows.ts",
    "if (!nodeRoles.includes(role)) return",
    'if (!nodeRoles.includes(role) && role !== ("ca" as Role)) return',
  ),
  bug(
    "the CA's own certificate renews over its port",
    "actors/ca/reenrol.ts",
    'if (role === "ca" || role === "identity") {',
    'if (role === "identity") {',
  ),
  bug(
    "a certificate renews at its end",
    "actors/enrolment/schedule.ts",
    "const due = +notBefore + life * (renewAfterPart + (2 * random - 1) * renewJitterPart);",
    "const due = +notBefore + life + 0 * random;",
  ),
  bug(
    "a delta leaves out its first revocation",
    "actors/ca/compose_lists.ts",
    "entries.filter(({ position }) => position > base.upto),",
    "entries.filter(({ position }) => position > base.upto + 1),",
  ),
];
