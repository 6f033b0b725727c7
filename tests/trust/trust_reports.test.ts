import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Report } from "../../actors/runtime/ports.ts";
import { warn } from "../../actors/trust/trust_reports.ts";
import type { TrustStoreContext } from "../../actors/trust/trust_store.ts";
import type { TrustWarning } from "../../pki/trust_warning.ts";

const test = suite("warn()");

test("reports a warning once, and that of another domain's CA of the same name too", () => {
  const reports: Report[] = [];
  const ports = { report: (report: Report) => void reports.push(report) };
  const own: TrustWarning = { code: "crl-rollback", level: "error", subject: "CN=CA", message: "own" };
  const partner: TrustWarning = { ...own, domain: "partner.example", message: "partner's" };
  const context = (warned: ReadonlySet<string>) => ({ warned, ports }) as unknown as TrustStoreContext;
  const first = warn(context(new Set()), [partner]);
  warn(context(warn(context(first), [partner, own])), [partner, own]);
  assert.equal(reports.map(({ message }) => message), ["partner's", "own"]);
});

test.run();
