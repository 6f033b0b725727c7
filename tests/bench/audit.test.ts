/** The measurement of the audit log writes one, verifies it, and runs gateways with and without one. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { measure } from "../../scripts/bench/audit/part.ts";

const test = suite("npm run bench -- audit");

test("each row has a figure, and what is compared has its ratio", async () => {
  const rows = await measure({ quick: true });
  const compared = ["A.handshakes", "A.requests"].flatMap((id) => [id, `${id}.gateway`, `${id}.both`]);
  const ids = compared.flatMap((id) => [id, `${id}.control`]);
  assert.equal(rows.map(({ id }) => id), ["A.write", "A.verify", ...ids]);
  for (const { id, value } of rows.slice(0, 2)) assert.ok(value > 0, `${id}: ${value}`);
  const row = new Map(rows.map((each) => [each.id, each]));
  for (const id of compared) {
    assert.is(row.get(id)!.peer, "without an audit log", id);
    assert.ok(row.get(`${id}.control`)!.ratio! >= 1, `${id}: the dearer one is compared with the other`);
  }
  for (const id of ["A.handshakes", "A.requests"]) {
    assert.ok(
      row.get(`${id}.both`)!.value > row.get(`${id}.gateway`)!.value,
      `${id}: the other end takes processor time too`,
    );
  }
});

test.run();
