/** Which certificates of one key are the same member. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  isConnectedAs,
  isRekeyed,
  type MemberFacts,
  memberOf,
  nodeOf,
  standsFor,
  withConnected,
  withoutConnected,
} from "../../pki/member.ts";

const test = suite("memberOf()");
const facts: MemberFacts = {
  peer: "12D3KooWA",
  domain: undefined,
  role: "worker",
  names: ["DNS:w", "URI:spiffe://test.hypha/worker/w"],
  subject: "CN=w",
  issuer: "CN=ca",
};
const others: [name: string, change: Partial<MemberFacts>, same: boolean][] = [
  ["nothing else", {}, true],
  ["another subject and issuer under the same SPIFFE name", { subject: "CN=x", issuer: "CN=y" }, true],
  ["another order of its other names", { names: ["URI:spiffe://test.hypha/worker/w", "DNS:other"] }, true],
  ["another PeerID", { peer: "12D3KooWB" }, false],
  ["another role", { role: "scheduler", names: ["URI:spiffe://test.hypha/scheduler/w"] }, false],
  ["another SPIFFE name", { names: ["URI:spiffe://test.hypha/worker/v"] }, false],
  ["another trust domain", { domain: "partner.example" }, false],
  ["no role, and a URI that is no proof then", { role: undefined }, false],
];
for (const [name, change, same] of others) {
  test(`${name}: ${same ? "the same" : "another"} member`, () => {
    assert.is(memberOf({ ...facts, ...change }) === memberOf(facts), same);
  });
}

test("a node with another key has the same domain, role and name, and another PeerID", () => {
  const own = memberOf(facts);
  const isSame = (change: Partial<MemberFacts>) => isRekeyed(own, memberOf({ ...facts, ...change }));
  assert.ok(isSame({ peer: "12D3KooWB" }));
  assert.ok(isSame({ peer: "12D3KooWB", subject: "CN=x", issuer: "CN=y" }), "its SPIFFE name counts");
  assert.not.ok(isSame({}), "the same key");
  assert.is(nodeOf(own), nodeOf(memberOf({ ...facts, peer: "12D3KooWB" })));
  assert.is.not(nodeOf(own), nodeOf(memberOf({ ...facts, role: "scheduler" })));
  for (const [name, change, same] of others) {
    if (!same && name !== "another PeerID") assert.not.ok(isSame({ ...change, peer: "12D3KooWB" }), name);
  }
  const plain = { ...facts, role: undefined, names: [] };
  assert.ok(isRekeyed(memberOf(plain), memberOf({ ...plain, peer: "12D3KooWB" })));
  assert.not.ok(isRekeyed(memberOf(plain), memberOf({ ...plain, peer: "12D3KooWB", issuer: "CN=other" })));
});

test("without a role the subject and its issuer make the member", () => {
  const plain = { ...facts, role: undefined, names: [] };
  assert.is(memberOf(plain), memberOf({ ...plain, names: ["DNS:another"] }));
  assert.is.not(memberOf(plain), memberOf({ ...plain, subject: "CN=v" }));
  assert.is.not(memberOf(plain), memberOf({ ...plain, issuer: "CN=v" }));
});

test("what one field says cannot pass for two", () => {
  const one = memberOf({ ...facts, role: undefined, names: [], subject: 'a","b', issuer: "c" });
  assert.is.not(one, memberOf({ ...facts, role: undefined, names: [], subject: "a", issuer: 'b","c' }));
});

test("each member is connected once, whatever its newest certificate is, and leaves alone", () => {
  const scheduler: MemberFacts = { ...facts, role: "scheduler", names: ["URI:spiffe://test.hypha/scheduler/w"] };
  const both = [facts, scheduler, { ...facts, subject: "CN=renewed" }].reduce(withConnected, []);
  assert.equal(both.map(({ peer, role }) => [peer, role]), [["12D3KooWA", "scheduler"], ["12D3KooWA", "worker"]]);
  const left = withoutConnected(both, facts);
  assert.equal(left.map(({ member }) => member), [memberOf(scheduler)]);
  assert.equal(withoutConnected(left, facts), left);
});

test("a PeerID is connected in a role where one of its members may act in it", () => {
  const members = withConnected([], facts);
  assert.ok(isConnectedAs(members, "12D3KooWA", "worker"));
  assert.not(isConnectedAs(members, "12D3KooWA", "gateway"));
  assert.not(isConnectedAs(members, "12D3KooWB", "worker"));
  assert.ok(isConnectedAs(withConnected(members, { ...facts, role: undefined }), "12D3KooWA", "gateway"));
});

test("a certificate without a role stands for each role but ca, another for its own", () => {
  assert.equal([standsFor(undefined, "ca"), standsFor("gateway", "ca"), standsFor("ca", "ca")], [false, false, true]);
  for (const role of ["gateway", "scheduler", "worker", "data"] as const) {
    assert.ok(standsFor(undefined, role));
    assert.is(standsFor("worker", role), role === "worker");
    assert.not(standsFor("ca", role));
  }
});

test.run();
