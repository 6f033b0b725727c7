/** Commands to a CA that sees other folders than its operator, as a service with `PrivateTmp` does. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { Effect, Exit, Scope } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { adminRoutes } from "../../actors/ca/admin_routes.ts";
import { type AdminRoute, serveAdmin } from "../../actors/admin/serve_admin.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { testAuthority } from "../support/authority.ts";
import { caPlace } from "../support/ca_program.ts";

const test = suite("a CA with folders of its own");
const { folder, command, file, done } = caPlace("folders");
const world = await testAuthority({ from: new Date() });
const ports = makePorts(() => {});
const scope = Scope.makeUnsafe();
const [shared, own] = [join(folder, "tmp"), join(folder, "private")];
const config = ["-c", join("ca", "ca.toml")];

test.before(async () => {
  await done("init", "--domain", "acme.example", "--url", "https://127.0.0.1:8443", "-d", "ca");
  for (const each of [shared, own]) mkdirSync(each);
  const routes = adminRoutes(world.ca, ports);
  /** What the operator names in the shared folder, the CA opens in its own. */
  const moved = (route: string): AdminRoute => (body) => {
    const { file } = body as { readonly file: string };
    return (routes[route] as AdminRoute)({ file: file.startsWith(shared) ? join(own, basename(file)) : file });
  };
  const served = Object.fromEntries(["POST /ca/backup", "POST /ca/root-list"].map((route) => [route, moved(route)]));
  await Effect.runPromise(Scope.provide(serveAdmin(file("state/admin.sock"), served), scope));
});
test.after(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void));
  await ports.dispose();
  world.close();
  rmSync(folder, { recursive: true });
});

const hint = /another \/tmp \(PrivateTmp\).* Use a path in \S+\/ca\/state$/m;

test("bug: a backup that lay in the service's own folder was reported as written", async () => {
  const { code, stdout, stderr } = await command("backup", ...config, "tmp/copy.db");
  assert.ok(existsSync(join(own, "copy.db")));
  assert.not(existsSync(join(shared, "copy.db")));
  assert.equal([code, stdout], [1, ""]);
  assert.match(stderr, /The CA wrote \S+\/tmp\/copy\.db into another folder .*, and the copy is left in it\./);
  assert.match(stderr, hint);
  const again = await command("backup", ...config, "tmp/copy.db");
  assert.equal([again.code, hint.test(again.stderr)], [1, true], again.stderr);
  writeFileSync(join(shared, "other.db"), "another file");
  const other = await command("backup", ...config, "tmp/other.db");
  assert.is(other.code, 1, "another file has the name there");
  assert.is(await done("backup", ...config, "seen.db"), "wrote seen.db");
  const seen = await command("backup", ...config, "seen.db");
  assert.equal([seen.code, /it exists/.test(seen.stderr), hint.test(seen.stderr)], [1, true, false], seen.stderr);
});

test("bug: where the CA could not see a file or folder, the refusal did not state why", async () => {
  writeFileSync(join(shared, "root-crl.pem"), "");
  const unseen = await command("root-list", ...config, "tmp/root-crl.pem");
  assert.equal([unseen.code, hint.test(unseen.stderr)], [1, true], unseen.stderr);
  rmSync(own, { recursive: true });
  const unwritten = await command("backup", ...config, "tmp/next.db");
  assert.equal([unwritten.code, hint.test(unwritten.stderr)], [1, true], unwritten.stderr);
  const nowhere = await command("root-list", ...config, "tmp/typo.pem");
  assert.equal([nowhere.code, /ENOENT/.test(nowhere.stderr), hint.test(nowhere.stderr)], [1, true, false]);
});

test.run();
