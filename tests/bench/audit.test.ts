/** The measurement of the audit log writes one, verifies it, and runs gateways with and without one. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { measure } from "../../scripts/bench/audit/part.ts";

const test = suite("npm run bench -- audit");

test("each row has a figure, and what is compared has its ratio", async () => {
  const rows = await measure({ quick: true });
  const compared = ["A.handshakes", "A.handshakes.both", "A.requests", "A.requests.both"];
  assert.equal(rows.map(({ id }) => id), ["A.write", "A.verify", ...compared]);
  for (const { id, value } of rows.slice(0, 2)) assert.ok(value > 0, `${id}: ${value}`);
  for (const { id, peer } of rows.slice(2)) assert.is(peer, "without an audit log", id);
  for (const [gateway, both] of [rows.slice(2, 4), rows.slice(4)]) {
    assert.ok(both!.value > gateway!.value, `${both!.id}: the other end takes processor time too`);
  }
});

test.run();
