/** Files that root gives away are those that it has just made, whatever the folder's owner puts in their place. */
import { chownSync, linkSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { giveOwner } from "../../actors/files/give_owner.ts";
import { ordinaryUser } from "../support/ordinary_user.ts";
import { asRoot } from "../support/prerequisites.ts";
import { unprivileged } from "../support/unprivileged.ts";

const test = suite("giveOwner()");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-owner-"));
});
test.after.each(() => rmSync(folder, { recursive: true }));

const theirs = { uid: ordinaryUser, gid: ordinaryUser };
const ownersOf = (path: string) => [statSync(path).uid, statSync(path).gid];
function make(name: string): string {
  const path = join(folder, name);
  writeFileSync(path, "", { mode: 0o600 });
  return path;
}

asRoot(test)("gives owner and group", () => {
  const file = make("file");
  giveOwner(file, theirs);
  assert.equal(ownersOf(file), [ordinaryUser, ordinaryUser]);
});

asRoot(test)("gives away no file that a link or another name leads to, and no folder", () => {
  const kept = make("kept");
  const [link, name, inner] = ["link", "name", "inner"].map((each) => join(folder, each));
  symlinkSync(kept, link!);
  giveOwner(link!, theirs);
  mkdirSync(inner!);
  giveOwner(inner!, theirs);
  linkSync(kept, name!);
  giveOwner(name!, theirs);
  assert.equal([kept, inner!].map(ownersOf), [[0, 0], [0, 0]]);
});

asRoot(test)("leaves a file as it is where the user may not give it", async () => {
  const file = make("file");
  chownSync(folder, ordinaryUser, ordinaryUser);
  chownSync(file, ordinaryUser, ordinaryUser);
  await unprivileged(() => Promise.resolve(giveOwner(file, { uid: 0, gid: 1 })));
  assert.is(statSync(file).uid, ordinaryUser);
});

test("leaves a missing file missing", () => {
  giveOwner(join(folder, "none"), theirs);
  assert.is(statSync(join(folder, "none"), { throwIfNoEntry: false }), undefined);
});

test.run();
