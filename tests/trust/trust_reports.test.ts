import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Report } from "../../actors/runtime/ports.ts";
import { review, warn } from "../../actors/trust/trust_reports.ts";
import type { TrustStoreContext } from "../../actors/trust/trust_store.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import type { TrustWarning } from "../../pki/trust_warning.ts";
import { at, forge } from "../support/forge.ts";

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

test("bug: a warning that only a reading finds was reported again at the reading after a look at the dates", () => {
  const reports: Report[] = [];
  const ports = { report: (report: Report) => void reports.push(report), now: () => at.getTime() };
  const trustPem = forge("Root", { ca: true }).pem;
  const { snapshot } = Result.getOrThrow(makeTrustSnapshot({ trustPem, policy: defaultPolicy, generation: 1, at }));
  const lists = ["crl-rollback", "crl-equivocation"] as const;
  const codes = ["leaf-in-bundle", "anchor-revoked", "anchor-unclear", "anchor-foreign", ...lists] as const;
  const found = codes.map((code): TrustWarning => ({ code, level: "warn", subject: "CN=CA", message: code }));
  const context = { snapshot, warned: new Set<string>(), ports, reviewedAt: 0 } as unknown as TrustStoreContext;
  const warned = warn(context, found);
  const looked = { ...context, warned, ...review({ ...context, warned }) };
  reports.length = 0;
  warn(looked, found);
  assert.equal(reports.map(({ message }) => message), []);
});

test.run();
