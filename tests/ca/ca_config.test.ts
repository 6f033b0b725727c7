/** A CA's configuration: what is wrong in it is refused with its key. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCaConfig } from "../../actors/ca/ca_config.ts";

const test = suite("configuration of a CA");
const usual: Readonly<Record<string, unknown>> = {
  domain: "acme.example",
  url: "https://ca.acme.example:8443",
  name: "ca-01",
  listen_https: "[::]:8443",
  chain_pem: "ca-cert.pem",
  key_pem: "/etc/ca-key.pem",
  state_dir: "state",
};
const toml = (changed: Readonly<Record<string, unknown>>, more = "") =>
  ["[ca]", ...Object.entries({ ...usual, ...changed }).map(([key, value]) => `${key} = ${JSON.stringify(value)}`), more]
    .join("\n");

test("paths are relative to the file, lifetimes belong to roles", () => {
  const text = toml(
    {
      renew_after_expiry: "1h",
      gateways: ["/dns4/gw/tcp/1", "gw-2=/dns4/gw-2/tcp/1"],
      next_chain_pem: "next.pem",
      next_key_pem: "next.key",
      new_with_old_pem: "link.pem",
    },
    '[ca.roles]\nworker.lifetime = "24h"\ndata.approval = true\n[[ca.retired]]\nchain_pem = "old.pem"\nkey_pem = "old.key"\n[console]\nlisten = "9465"',
  );
  assert.equal(Result.getOrThrow(parseCaConfig("/srv/ca/ca.toml", text)), {
    domain: "acme.example",
    url: "https://ca.acme.example:8443",
    name: "ca-01",
    gateways: ["/dns4/gw/tcp/1", "/dns4/gw-2/tcp/1"],
    gatewayNames: { "gw-2": "/dns4/gw-2/tcp/1" },
    retiredIssuers: [],
    renewAfterExpiryMs: 3_600_000,
    lifetimesMs: { worker: 86_400_000 },
    host: "::",
    port: 8_443,
    chainPem: "/srv/ca/ca-cert.pem",
    keyPem: "/etc/ca-key.pem",
    stateDir: "/srv/ca/state",
    approversJson: "/srv/ca/approvers.json",
    audit: { dir: "/srv/ca/state/audit", keepMs: 365 * 86_400_000, key: undefined },
    console: { host: "127.0.0.1", port: 9_465 },
    approvedRoles: ["data"],
    next: { chainPem: "/srv/ca/next.pem", keyPem: "/srv/ca/next.key" },
    retired: [{ chainPem: "/srv/ca/old.pem", keyPem: "/srv/ca/old.key" }],
    newWithOldPem: "/srv/ca/link.pem",
  });
});

test("bug: a gateway in another spelling was kept so: a connection to it was not taken for the gateway's", () => {
  const text = toml({ gateways: ["/ip6/2001:DB9:0:0::1/tcp/4001/", "gw-2=/ip6/0:0::1/tcp/1"] });
  const { gateways, gatewayNames } = Result.getOrThrow(parseCaConfig("/srv/ca/ca.toml", text));
  assert.equal(gateways, ["/ip6/2001:db9::1/tcp/4001", "/ip6/::1/tcp/1"]);
  assert.equal(gatewayNames, { "gw-2": "/ip6/::1/tcp/1" });
});

test("the audit log's folder is relative to the file", () => {
  const text = toml({}, '[audit]\ndir = "../log"\nkeep = "24h"');
  const { audit } = Result.getOrThrow(parseCaConfig("/srv/ca/ca.toml", text));
  assert.equal(audit, { dir: "/srv/log", keepMs: 86_400_000, key: undefined });
});

const wrong: [what: string, text: string, detail: RegExp][] = [
  ["no TOML", "[ca]\nurl =\n", /^line 2, column \d+ is not TOML: ./],
  ["nothing", "", /ca/],
  ["an unknown key", toml({ lisen: "x" }), /^line 9: ca\.lisen is no key/],
  ["an unknown key of a role", toml({}, "[ca.roles.data]\nlife = 1"), /^line 10: ca\.roles\.data\.life is no key/],
  ["a missing key", toml({ key_pem: undefined }).replace(/^key_pem.*\n/m, ""), /^ca\.key_pem is missing$/],
  ["a next CA without its key", toml({ next_chain_pem: "a" }), /go together/],
  ["a gateway without an address", toml({ gateways: ["gw-1"] }), /^gateways: "gw-1" is not NAME=ADDRESS/],
  ["a gateway with an odd name", toml({ gateways: ["a b=/dns4/gw/tcp/1"] }), /is not NAME=ADDRESS/],
  ["two gateways of a name", toml({ gateways: ["a=/dns4/x/tcp/1", "a=/dns4/y/tcp/1"] }), /the same name/],
  ["a host name to listen on", toml({ listen_https: "localhost:8443" }), /listen_https/],
  ["a port that is none", toml({ listen_https: "0.0.0.0:65536" }), /listen_https/],
  ["a name with a slash", toml({ name: "a/b" }), /^line 4: ca\.name: /],
  ["a duration without unit", toml({ renew_after_expiry: "72" }), /renew_after_expiry/],
  ["a renewal after more than 30 days", toml({ renew_after_expiry: "31d" }), /renew_after_expiry/],
  ["a life under an hour", toml({}, '[ca.roles.data]\nlifetime = "59m"'), /data/],
  ["a life over 397 days", toml({}, '[ca.roles.data]\nlifetime = "398d"'), /data/],
  ["records kept for less than a day", toml({}, '[audit]\nkeep = "23h"'), /^audit\.keep is less than 1d$/],
  ["an unknown key of the audit log", toml({}, '[audit]\ndirectory = "x"'), /^line 10: audit\.directory is no key/],
  ["a console that other machines reach", toml({}, '[console]\nlisten = "0.0.0.0:9465"'), /is not a loopback address/],
  ["an unknown role", toml({}, '[ca.roles.root]\nlifetime = "2h"'), /root/],
];
for (const [what, text, detail] of wrong) {
  test(`refuses ${what}`, () => {
    const outcome = parseCaConfig("/ca.toml", text);
    assert.ok(Result.isFailure(outcome));
    assert.match(outcome.failure.detail, detail);
    assert.not.match(outcome.failure.detail, /\n/);
  });
}

test.run();
