/** What an operator puts in place while a certificate is obtained is not overwritten. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type EnrolmentStore,
  type HeldFiles,
  type NewFiles,
  writeOver,
} from "../../actors/enrolment/enrolment_store.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";

const test = suite("writeOver()");
const before: HeldFiles = {
  certPem: "cert",
  keyPem: "key",
  trustPem: "trust",
  identityPem: "identity",
  keyWrittenAt: undefined,
  next: undefined,
};

/** A store whose files are these, and what was written. */
function storeWith(files: HeldFiles) {
  const written: NewFiles[] = [];
  const store: Partial<EnrolmentStore> = {
    read: Effect.succeed(files),
    write: (made) => Effect.sync(() => void written.push(made)),
  };
  return { store: store as EnrolmentStore, written };
}

for (const name of ["certPem", "keyPem", "trustPem", "identityPem"] as const) {
  test(`writes nothing where another program changed or removed ${name}`, async () => {
    for (const content of ["other", undefined]) {
      const { store, written } = storeWith({ ...before, [name]: content });
      const isWritten = await Effect.runPromise(
        Effect.provide(writeOver(store, before, { certPem: "new" }), realServices),
      );
      assert.equal([isWritten, written], [false, []]);
    }
  });
}

test("writes where the files are those that were read", async () => {
  const { store, written } = storeWith({ ...before });
  const isWritten = await Effect.runPromise(Effect.provide(writeOver(store, before, { certPem: "new" }), realServices));
  assert.equal([isWritten, written], [true, [{ certPem: "new" }]]);
});

test.run();
