import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MembershipConfig } from "../../actors/config/membership_schema.ts";
import { hintingPorts } from "../../actors/node/ca_hints.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import type { RefusalCode } from "../../pki/refusal.ts";
import { refusalTable } from "../../pki/refusal_table.ts";

const test = suite("hints of a node with a CA");

const membership: MembershipConfig = {
  ca: ["https://ca.test"],
  crlUrls: ["https://ca.test"],
  renew: true,
  key: "same",
  newKeyEveryMs: undefined,
  crls: "required",
};

async function hintOf(event: string, code: string, how: MembershipConfig | undefined): Promise<unknown> {
  const hints: unknown[] = [];
  const real = makePorts(({ fields }) => hints.push(fields?.["hint"]));
  const hint = refusalTable[code as RefusalCode].hint;
  hintingPorts(real, how).report({ level: "warn", event, message: "", fields: { code, hint } });
  await real.dispose();
  return hints[0];
}

const cases: [event: string, code: RefusalCode, expected: RegExp][] = [
  ["peer.closed", "certificate-revoked", /hypha-ca token --replace/],
  ["peer.refused", "certificate-expired", /enrolment\.failed.*hypha-ca token --replace/],
  ["peer.refused", "revocation-unknown", /crl_urls/],
  ["peer.refused", "crl-expired", /crl_urls.*hypha-ca status/],
  ["peer.refused", "role-not-allowed", /hypha-ca token --replace --role ROLE/],
  ["act.refused", "too-expensive", /hypha-ca revoke NAME/],
  ["identity.refused", "certificate-revoked", /^Let the CA's operator make a token/],
  ["identity.refused", "certificate-expired", /renews it while the CA answers/],
];
for (const [event, code, expected] of cases) {
  test(`${event}, ${code}: names the CA's command; without a CA that for files`, async () => {
    const hint = await hintOf(event, code, membership);
    assert.match(String(hint), expected);
    assert.not.match(String(hint), /certutil/);
    assert.is(await hintOf(event, code, undefined), refusalTable[code].hint);
  });
}

test("another refusal keeps its hint", async () => {
  assert.is(await hintOf("peer.refused", "tls-version", membership), refusalTable["tls-version"].hint);
});

test.run();
