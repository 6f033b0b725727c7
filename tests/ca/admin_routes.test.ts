/** An operator's commands to a running CA, over its admin socket. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { adminRoutes } from "../../actors/ca/admin_routes.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import { adminBackupMs, type AdminRoute, serveAdmin } from "../../actors/admin/serve_admin.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { testApprovers } from "../support/approvers.ts";
import { start, type TestAuthority, testAuthority, type TestAuthorityOptions, testCsr } from "../support/authority.ts";

interface NodesAnswer {
  readonly nodes: readonly { readonly identity: string; readonly serial: string; readonly revoked?: string }[];
}
const test = suite("an operator's commands to a CA");

/** Serves a CA's socket, with the time standing still. */
async function operated(
  use: (
    ask: (route: string, body?: unknown) => Promise<{ status: number; body: unknown }>,
    world: TestAuthority,
  ) => Promise<void>,
  options: TestAuthorityOptions = {},
): Promise<void> {
  const world = await testAuthority(options);
  const real = makePorts(() => {});
  const path = join(world.folder, "admin.sock");
  const routes = adminRoutes(world.ca, { ...real, now: () => +start });
  const ask = (route: string, body?: unknown) => Effect.runPromise(askAdmin(path, route, body));
  await Effect.runPromise(
    Effect.scoped(Effect.andThen(serveAdmin(path, routes), Effect.promise(() => use(ask, world)))),
  );
  await real.dispose();
  world.close();
}

test("bug: the hint of a refused approval was to approve again, also where a new request is needed", () =>
  operated(async (ask, { ca }) => {
    const { policy, approve, sign } = await testApprovers(ca);
    const waits = await ask("POST /ca/change-approvers", { policy: policy.line });
    const { id } = waits.body as { readonly id: string };
    const hintOf = async (person: "alice" | "bob" | "mallory") => {
      const { status, body } = await ask("POST /ca/approve", { id, approval: await sign(id, person) });
      const { code, hint } = body as { readonly code: string; readonly hint: string };
      assert.equal([status, code], [403, "approval-refused"]);
      return hint;
    };
    await approve(id, "alice", start);
    assert.match(await hintOf("alice"), /another approver/);
    assert.match(await hintOf("mallory"), /another approver/);
    assert.is(await approve(id, "bob", start), "executed");
    assert.match(await hintOf("bob"), /new request/);
  }));

test("token, nodes, revoke and status", () =>
  operated(async (ask, { ca }) => {
    const made = await ask("POST /ca/token", {
      role: "worker",
      name: "w-1",
      san: ["DNS:w-1.acme.example"],
      lifetime_s: 60,
    });
    const { token, identity, expires } = made.body as Record<string, string>;
    assert.equal([made.status, identity, expires], [
      200,
      "spiffe://acme.example/worker/w-1",
      new Date(+start + 60_000).toISOString(),
    ]);
    await Effect.runPromise(enrol(ca, { token: token!, csr: (await testCsr()).der, address: "::1" }, start));
    const nodes = ((await ask("POST /ca/nodes")).body as NodesAnswer).nodes;
    assert.equal(nodes.map((each) => [each.identity, each.revoked]), [[identity, undefined]]);
    const again = await ask("POST /ca/token", { role: "worker", name: "w-1" });
    assert.equal([again.status, (again.body as { code: string }).code], [409, "name-taken"]);
    assert.is((await ask("POST /ca/token", { role: "worker", name: "w-1", replace: true })).status, 200);
    const { body } = await ask("POST /ca/revoke", { name: "w-1", reason: "keyCompromise" });
    assert.equal((body as { revoked: unknown }).revoked, [{ identity, serial: nodes[0]!.serial }]);
    const status = (await ask("GET /status")).body as { certificates: number; crl: { number: string } };
    assert.equal([status.certificates, status.crl.number], [0, (body as { number: string }).number]);
  }));

test("bug: names that were revoked before an unknown one were not in the answer", async () => {
  let away = Infinity;
  await operated(async (ask, { ca, token }) => {
    const names = ["a", "b", "c"];
    for (const name of names) {
      const csr = (await testCsr()).der;
      await Effect.runPromise(enrol(ca, { token: await token(name), csr, address: "::1" }, start));
    }
    const revoked = async () =>
      ((await ask("POST /ca/nodes")).body as NodesAnswer).nodes.filter((each) => each.revoked !== undefined).length;
    const typo = await ask("POST /ca/revoke", { names: ["a", "b", "typo", "c"] });
    assert.equal([typo.status, (typo.body as { code: string }).code, await revoked()], [404, "name-unknown", 0]);
    away = 2;
    const { status, body } = await ask("POST /ca/revoke", { names });
    const { code, error } = body as { code: string; error: string };
    assert.equal([status, code, await revoked()], [503, "signer-unavailable", 2]);
    assert.match(
      error,
      /the key is away\. Not revoked: [0-9a-f]{40}\. What was not revoked is not renewed: .*; names revoked: a, b$/,
    );
  }, {
    signer: (real) => ({
      ...real,
      sign: (bytes) => away-- > 0 ? real.sign(bytes) : Promise.reject(new Error("the key is away")),
    }),
  });
});

test("a backup goes to an absolute path, 0600, and over nothing", () =>
  operated(async (ask, { ca, folder }) => {
    const file = join(folder, "copy.db");
    assert.is((await ask("POST /ca/backup", { file })).status, 200);
    assert.is(statSync(file).mode & 0o777, 0o600);
    assert.is((await ask("POST /ca/backup", { file })).status, 503);
    assert.is((await ask("POST /ca/backup", { file: "copy.db" })).status, 403);
    const { "POST /ca/backup": route } = adminRoutes(ca, makePorts(() => {}));
    assert.is((route as AdminRoute).timeoutMs, adminBackupMs);
  }));

const wrong: [what: string, route: string, body: unknown][] = [
  ["role ca", "POST /ca/token", { role: "ca", name: "x" }],
  ["an unknown key", "POST /ca/token", { role: "worker", name: "x", spiffe: "y" }],
  ["no name", "POST /ca/token", { role: "worker" }],
  ["a token for longer than a day", "POST /ca/token", { role: "worker", name: "x", lifetime_s: 86_401 }],
  ["nothing to revoke", "POST /ca/revoke", {}],
  ["an unknown reason", "POST /ca/revoke", { name: "x", reason: "bored" }],
  ["a number for a name", "POST /ca/revoke", { name: 7 }],
];
for (const [what, route, body] of wrong) {
  test(`${what}: 400`, () =>
    operated(async (ask) => {
      assert.is((await ask(route, body)).status, 400);
    }));
}

test.run();
