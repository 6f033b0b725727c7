/** Which addresses are used. */
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { addressFilter } from "../../../transport/core/address_filter.ts";

const test = suite("addressFilter()");
const allowed = addressFilter(["127.0.0.0/8", "10.1.2.0/24", "fc00::/7"]);
const relay = "p2p/12D3KooWCdeFXToKJSgotLQahnWW5Ab6MtrzGkE3LskCRrhFjFT5";
const rows: [address: string, allowed: boolean][] = [
  ["/ip4/127.0.0.1/tcp/1", false],
  ["/ip4/126.255.255.255/tcp/1", true],
  ["/ip4/10.1.2.255/tcp/1", false],
  ["/ip4/10.1.3.0/tcp/1", true],
  ["/ip6/fdff::1/tcp/1", false],
  ["/ip6/fe00::1/tcp/1", true],
  ["/dns4/example.org/tcp/1", true],
  [`/unix/%2Frun%2Fservice.sock/${relay}`, false],
  // Bug: a system takes these for its own.
  ["/ip4/0.0.0.0/tcp/1", false],
  ["/ip4/0.0.0.1/tcp/1", false],
  ["/ip6/::/tcp/1", false],
  ["/ip6/::ffff:0:0/tcp/1", false],
  [`/ip4/10.1.2.3/tcp/1/${relay}/p2p-circuit/${relay}`, false],
  [`/ip4/192.0.2.3/tcp/1/${relay}/p2p-circuit/${relay}`, true],
];
for (const [address, expected] of rows) {
  test(`${expected ? "allows" : "refuses"} ${address.slice(0, 30)}`, () =>
    assert.is(allowed(multiaddr(address)), expected));
}
for (
  const cidr of ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "example.org/8", "10.0.0.0/8x", ""]
) {
  test(`refuses to exclude "${cidr}"`, () =>
    assert.throws(() => addressFilter([cidr]), (error: unknown) => error instanceof RangeError));
}
test.run();
