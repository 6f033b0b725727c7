import { suite } from "uvu";
import * as assert from "uvu/assert";
import { crlDueMs } from "../../pki/trust_warning.ts";

const test = suite("readWarnings()");

// What it says of bundles and lists stands in `trust.test.ts`.
test("a list is due a day before its next update", () => assert.is(crlDueMs, 86_400_000));

test.run();
