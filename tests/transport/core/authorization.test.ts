/** Who may do which act, what is reported of it, and what becomes of members when the rules change. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../../pki/path.ts";
import type { MemberRole } from "../../../pki/certificate.ts";
import { type Act, actNames, rowOf } from "../../../transport/authorization/acts.ts";
import type { Rule } from "../../../transport/authorization/authorize.ts";
import { Authorization, rejudgedSlice } from "../../../transport/core/authorization.ts";
import { outbox } from "../../../transport/core/outbox.ts";
import { reportedEachMs } from "../../../transport/core/rare_reports.ts";
import type { TransportFact } from "../../../transport/port.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("Authorization");
const roles: readonly (MemberRole | undefined)[] = ["gateway", "scheduler", "worker", "data", "ca", undefined];

function authorizationAt(role: MemberRole, members: readonly PeerIdentity[] = [], rules: readonly Rule[] = []) {
  const clock = new ManualClock();
  const facts: TransportFact[] = [];
  const ended: [peer: string, acts: readonly Act[]][] = [];
  const acts = new Authorization({
    input: { role, rules },
    clock,
    outbox: outbox({ clock, deliver: (fact) => facts.push(fact) }),
    members: () => members.map((identity) => ({ identity })),
  });
  const change = (to: readonly Rule[]) =>
    acts.change(to, (member, denied) => ended.push([JSON.parse(member)[0], [...denied]]));
  return { acts, clock, facts, ended, change };
}
const rule = (effect: Rule["effect"], acts: readonly Act[], fits: Rule["fits"] = () => true): Rule => ({
  label: `${effect} ${acts}`,
  effect,
  acts,
  fits,
});

test("each row at each role: who may is who the row names, and a certificate without a role", () => {
  for (const own of ["gateway", "scheduler", "worker", "data", "ca"] as const) {
    const { acts } = authorizationAt(own);
    for (const act of actNames) {
      const { receivedBy, allowedTo } = rowOf(act);
      const here = receivedBy === "all" || receivedBy.includes(own);
      const may = roles.filter((role) => acts.refusalOf(act, identityOf("a", { role })) === undefined);
      const named = roles.filter((role) => allowedTo === "member" || role === undefined || allowedTo.includes(role));
      assert.equal(may, here ? named : [], `${act} at a ${own}`);
    }
  }
});

test("a CA's node does what every member may, witnesses audit logs, and does nothing that another role exists for", () => {
  const { acts } = authorizationAt("worker");
  const may = actNames.filter((act) => acts.refusalOf(act, identityOf("a", { role: "ca" })) === undefined);
  const members = actNames.filter((act) => rowOf(act).receivedBy === "all" && rowOf(act).allowedTo === "member");
  assert.equal(may.toSorted(), [...members, "audit"].toSorted());
  assert.ok(may.includes("health") && may.includes("identify"));
  assert.equal(actNames.filter((act) => rowOf(act).allowedTo.includes("ca")), ["audit"]);
});

test("a refusal is told at once for each member and act, then once a minute with the number of the others", () => {
  const { acts, clock, facts } = authorizationAt("worker");
  const [data, gateway] = [identityOf("a", { role: "data" }), identityOf("a", { role: "gateway" })];
  for (let time = 0; time < 5; time++) assert.not(acts.allows("job.dispatch", data));
  assert.not(acts.allows("lease.renew", data));
  assert.not(acts.allows("job.dispatch", gateway));
  assert.ok(acts.allows("ping", data));
  clock.pass(reportedEachMs);
  assert.not(acts.allows("job.dispatch", data));
  clock.settle();
  const told = facts.map((fact) => fact.type === "act.refused" && [fact.act, fact.identity.role, fact.untold]);
  assert.equal(told, [
    ["job.dispatch", "data", 0],
    ["lease.renew", "data", 0],
    ["job.dispatch", "gateway", 0],
    ["job.dispatch", "data", 4],
  ]);
});

test("of several identities of a peer the one that may acts; where none may, one refusal is told", () => {
  const { acts, clock, facts } = authorizationAt("worker");
  const [data, scheduler] = [identityOf("a", { role: "data" }), identityOf("a", { role: "scheduler" })];
  assert.is(acts.allowedOf("worker.request", [data, scheduler]), scheduler);
  assert.is(acts.allowedOf("worker.request", []), undefined);
  clock.settle();
  assert.equal(facts, []);
  assert.is(acts.allowedOf("worker.request", [data, identityOf("a", { role: "gateway" })]), undefined);
  clock.settle();
  assert.is(facts.length, 1);
});

test("changed rules: told for each member that lost an act, of acts that it had, and for no other", () => {
  const members = [identityOf("a", { role: "scheduler" }), identityOf("b", { role: "data" }), identityOf("c")];
  const { acts, clock, facts, ended, change } = authorizationAt("worker", members);
  const told = () => {
    clock.pass(0);
    return facts.splice(0).map((fact) => fact.type === "authorization.changed" && [fact.peer, fact.denied]);
  };
  change([rule("deny", ["job.dispatch", "ping"], ({ peer }) => peer !== "c")]);
  const expected = [["a", ["job.dispatch", "ping"]], ["b", ["ping"]]];
  assert.equal(told(), expected);
  assert.equal(ended.splice(0), expected);
  assert.ok(acts.refusalOf("ping", members[0] as PeerIdentity) !== undefined);
  change([rule("allow", ["job.dispatch"]), rule("deny", ["ping"], ({ peer }) => peer === "b")]);
  assert.equal(told(), [], "what was denied before is not told again");
  change([]);
  assert.equal(told(), [["b", ["job.dispatch"]]], "an allowance that is gone is a loss");
});

test("the one member that a slice leaves over is judged after it", () => {
  const members = Array.from({ length: rejudgedSlice + 1 }, (_, nth) => identityOf(`peer ${nth}`));
  const { clock, ended, change } = authorizationAt("worker", members);
  change([rule("deny", ["ping"])]);
  assert.is(ended.length, rejudgedSlice);
  clock.pass(0);
  assert.equal([ended.length, ended.at(-1)?.[0]], [members.length, `peer ${rejudgedSlice}`]);
});

test("changed rules reach every member in slices, also those that a change in between finds unvisited", () => {
  const members = Array.from({ length: 3 * rejudgedSlice }, (_, nth) => identityOf(`peer ${nth}`));
  const { clock, ended, change } = authorizationAt("worker", members);
  change([rule("deny", ["ping"])]);
  assert.is(ended.length, rejudgedSlice, "others have their turn between two slices");
  change([rule("deny", ["ping"]), rule("deny", ["gossip"])]);
  clock.pass(0);
  const of = (act: Act) => ended.filter(([, acts]) => acts.includes(act)).length;
  assert.equal([of("ping"), of("gossip")], [members.length, members.length]);
  assert.is(clock.waiting, 0);
});

test.run();
