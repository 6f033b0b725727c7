/** A CA's status for people. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ShownCa } from "../../actors/ca/operator_views.ts";
import { waitingText } from "../../scripts/ca/approval_commands.ts";
import { caText } from "../../scripts/ca/ca_text.ts";

const test = suite("a CA for people");
const now = Date.parse("2026-01-02T00:00:00Z");
const at = (seconds: number) => new Date(now + seconds * 1_000).toISOString();
const shown: ShownCa = {
  domain: "acme.example",
  url: "https://ca.acme.example:8443",
  problem: null,
  next_start: null,
  issuer_ends: at(864_000),
  issuers: [
    { id: "a", subject: "CN=Issuing CA 2", ends: at(864_000), state: "issuing", certificates: 3, revoked: false },
    { id: "b", subject: "CN=Issuing CA", ends: at(60), state: "retired", certificates: 10, revoked: true },
  ],
  certificates: 12,
  gap: { from: at(-7_200), to: at(-3_600) },
  crl: { number: "7", next_update: at(-10) },
  root_list: "in force",
  root_list_ends: at(864_000),
  root_list_days: 10,
  approvals: { approvers: ["alice", "bob", "carol"], threshold: 2, operations: ["change-approvers", "revoke-many"] },
  requests: [{ id: "4a1b000000000000", operation: "revoke-many", approvers: ["bob"], expires: at(60) }],
  lapsed: [{
    ...{ id: "4a1b000000000001", operation: "rotate-ca", approvers: ["bob", "carol"] },
    ...{ at: at(-60), reason: "expired" },
  }],
  locked: [{ identity: "spiffe://acme.example/worker/w\x1b[2J", reason: "renewal-forked" }],
  unsigned_serials: [{ serial: "4a1b7777", since: at(-60) }],
  forks: [{
    origin: "acme.example/audit/gateway/gateway-01",
    problem: "split",
    at: at(-60),
    from: "gateway-02 12D3KooW",
    held: "acme.example/audit/gateway/gateway-01\n20\nAAAA\n\n\u2014 signed\n",
    other: "acme.example/audit/gateway/gateway-01\n20\nBBBB\n\n\u2014 signed\n",
    file: "/state/node/witness/0123.json",
  }],
};
const options = { now, columns: 200, colour: false };

test("all of it is shown, and unsafe characters are escaped", () => {
  assert.equal(caText(shown, options).split("\n"), [
    "CA of acme.example at https://ca.acme.example:8443: issuing",
    "certificates in force: 12",
    "restored register: certificates issued from 2026-01-01T22:00:00.000Z to 2026-01-01T23:00:00.000Z are not in it; revoke those that you know by --serial",
    "revocation list 7: next 2026-01-01T23:59:50.000Z, overdue for 10 s",
    "the root's revocation list: ends 2026-01-12T00:00:00.000Z, in 10 d",
    "issuers:",
    "  CN=Issuing CA 2  issuing           ends 2026-01-12T00:00:00.000Z, in 10 d        3 certificates",
    "  CN=Issuing CA    retired, revoked  ends 2026-01-02T00:01:00.000Z, in 60 s, soon  10 certificates",
    "approvals: 2 of alice, bob, carol for change-approvers, revoke-many",
    "requests that wait for approvals:",
    "  4a1b000000000000  revoke-many  approved by bob  expires 2026-01-02T00:01:00.000Z, in 60 s, soon",
    "approved requests that lapsed before they were done; request them again:",
    "  4a1b000000000001  rotate-ca  lapsed 2026-01-01T23:59:00.000Z: expired  approved by bob, carol",
    "locked names:",
    "  spiffe://acme.example/worker/w\\u001b[2J  renewal-forked",
    "revocations that no list has yet; run each command again, with its --reason:",
    "  hypha-ca revoke --serial 4a1b7777  since 2026-01-01T23:59:00.000Z",
    "forked audit logs:",
    "  acme.example/audit/gateway/gateway-01: split, found 2026-01-01T23:59:00.000Z, sent by gateway-02 12D3KooW",
    "    held:  20 records, root AAAA",
    "    other: 20 records, root BBBB",
    "    verify a copy of the log: hypha-certutil audit verify COPY --witness /state/node/witness/0123.json",
  ]);
});

test("a CA without lists that cannot issue says so, in lines no longer than the terminal", () => {
  const text = caText(
    {
      ...shown,
      problem: "register-full",
      next_start: "approvers.json differs",
      gap: null,
      crl: null,
      root_list: "there is none",
      root_list_ends: null,
      lapsed: [],
      locked: [],
      unsigned_serials: [],
      forks: [],
      approvals: null,
    },
    { ...options, columns: 60 },
  );
  const lines = text.split("\n");
  assert.ok(lines.includes("cannot start again: approvers.json differs"));
  assert.match(lines[0] ?? "", /^CA of acme\.example at .*: not in …?/);
  assert.equal(lines.slice(3, 5), ["revocation list: none", "the root's revocation list: there is none"]);
  assert.ok(lines.every((line) => line.length <= 60));
  assert.is(lines.at(-1), "locked names: none");
});

test("bug: the command for a request that waits was wrong where the configuration is not ./ca.toml", () => {
  const answer = {
    ...{ id: "00112233aabbccdd", operation: "rotate-ca", approvers: ["alice"], threshold: 3 },
    state: "open",
    expires: "2026-11-02T00:00:00.000Z",
  } as const;
  assert.is(
    waitingText("ca/ca.toml", answer),
    "rotate-ca waits for 2 approvals until 2026-11-02T00:00:00.000Z: " +
      "hypha-ca approve -c ca/ca.toml 00112233aabbccdd --key FILE",
  );
});

test.run();
