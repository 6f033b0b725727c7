/** What the names in other nodes' addresses resolve to, with an answer of DNS that the test makes. */
import type { LookupAddress } from "node:dns";
import type { LookupFunction } from "node:net";
import type { Transport } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addressRules } from "../../../transport/core/address_filter.ts";
import { MovedInternal } from "../../../transport/libp2p/moved_internal.ts";
import { filteringNames } from "../../../transport/libp2p/resolved_names.ts";

const test = suite("filteringNames()");

const rules = addressRules({
  excludeCidr: ["10.0.0.0/8", "fc00::/7", "fe80::/10"],
  listenAddresses: [],
  externalAddresses: [],
  gatewayAddresses: ["/dns4/gateway.example/tcp/4001", "/ip4/10.0.0.1/tcp/4001"],
  relay: "client",
}, () => false);
const filters = {
  mayDial: (address: string) => rules.mayDial(multiaddr(address)),
  isConfigured: (address: string) => rules.isConfigured(multiaddr(address)),
};

/** Where a socket to an address would connect, by DNS as it is played, or why it would not; and how often DNS was asked. */
async function connected(address: string, answers: readonly (readonly string[])[], all = true) {
  let asked = 0;
  const resolve = (name: string, _options: object, done: (error: Error | null, found?: LookupAddress[]) => void) => {
    const answer = answers[asked];
    asked += 1;
    if (answer === undefined) return done(new Error(`ENOTFOUND ${name}`));
    done(null, answer.map((each) => ({ address: each, family: each.includes(":") ? 6 : 4 })));
  };
  const socket = (_address: unknown, options: { readonly lookup?: LookupFunction }) =>
    new Promise((done, failed) => {
      if (options.lookup === undefined) return done("as the system resolves it");
      options.lookup("name", { all }, (error, found, family) => {
        if (error !== null) return failed(error);
        done(typeof found === "string" ? `${found} ${family}` : found.map((each) => each.address).join(" "));
      });
    });
  const make = filteringNames(() => ({ _connect: socket }) as unknown as Transport, filters, resolve as never);
  const { _connect: connect } = make({}) as unknown as { _connect(address: unknown, options: object): Promise<string> };
  const outcome = await connect(multiaddr(address), {}).catch(String);
  return { outcome, asked };
}

const excluded = "NameExcluded: no address of this name may be dialled (exclude_cidr)";
const unfiltered = "as the system resolves it";
const rows: [address: string, answer: readonly string[], outcome: string][] = [
  ["/dns4/node.example/tcp/1", ["192.0.2.1"], "192.0.2.1"],
  ["/dns4/node.example/tcp/1", ["10.1.1.1"], excluded],
  ["/dns/node.example/tcp/1", ["10.1.1.1", "192.0.2.1", "fd00::1", "2001:db8::1"], "192.0.2.1 2001:db8::1"],
  ["/dns6/node.example/tcp/1", ["::ffff:10.1.1.1", "fe80::1%2", "::", "0.0.0.0"], excluded],
  ["/dnsaddr/node.example/tcp/1", ["10.1.1.1"], excluded],
  ["/dns4/node.example/tcp/4001", ["10.0.0.1"], "10.0.0.1"],
  ["/dns4/node.example/tcp/4001", ["::ffff:10.0.0.1"], "::ffff:10.0.0.1"],
  ["/dns4/node.example/tcp/4002", ["10.0.0.1"], excluded],
  ["/dns4/gateway.example/tcp/4002", ["10.1.1.1"], excluded],
  ["/dns4/gateway.example/tcp/4001", [], unfiltered],
  ["/ip4/192.0.2.1/tcp/1", [], unfiltered],
  ["/dns4/10.1.1.1/tcp/1", [], excluded],
  ["/dns6/::ffff:10.1.1.1/tcp/1", [], excluded],
];
for (const [address, answer, expected] of rows) {
  test(`${address} with ${answer.join(" ") || "no answer"}: ${expected}`, async () =>
    assert.is((await connected(address, [answer])).outcome, expected));
}

test("DNS is asked once, and the socket takes that answer: a second one could be another", async () => {
  const { outcome, asked } = await connected("/dns4/node.example/tcp/1", [["192.0.2.1"], ["10.1.1.1"]]);
  assert.equal([outcome, asked], ["192.0.2.1", 1]);
});

test("a socket that wants one address gets one that is allowed", async () => {
  const address = "/dns4/node.example/tcp/1";
  assert.is((await connected(address, [["10.1.1.1", "192.0.2.1"]], false)).outcome, "192.0.2.1 4");
  assert.is((await connected(address, [["10.1.1.1"]], false)).outcome, excluded);
});

test("a name that DNS does not know fails as it did", async () =>
  assert.is((await connected("/dns4/node.example/tcp/1", [])).outcome, "Error: ENOTFOUND name"));

test("a TCP transport of another make is named", () => {
  assert.throws(
    () => filteringNames(() => ({}) as Transport, filters)({}),
    (error: unknown) => error instanceof MovedInternal,
  );
});

test.run();
