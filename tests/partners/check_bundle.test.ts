/** Whether a bundle is a partner's, at once and without sockets: what a hostile one costs, and which news count. */
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type BundleTerms, checkBundle } from "../../actors/partners/check_bundle.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { formatSpiffeBundle, parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type Forged, later } from "../support/forge.ts";

const test = suite("checkBundle()");
const trustPem = forge("Own Root", { ca: true }).pem;
const domains = [{ name: "partner.example", trust: undefined }];
const { snapshot } = Result.getOrThrow(
  makeTrustSnapshot({ trustPem, policy: defaultPolicy, generation: 1, at, domains }),
);
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const bundleOf = (cas: readonly Forged[], sequence?: number) =>
  formatSpiffeBundle(cas.map(certificate), { sequence, refreshHintSeconds: 120 });

type More = Partial<Pick<BundleTerms, "pin" | "kept">>;
const path = "/var/lib/hypha/bundles/partner.example/bundle.json";

/** Checks a bundle that a server of the web has. */
function check(text: string, more: More = {}) {
  const url = "https://www.partner.example/bundle.json";
  const terms = { domain: "partner.example", url, path, profile: "https_web", pin: undefined } as const;
  return checkBundle({ chain: [], text }, { ...terms, kept: undefined, snapshot, at, ...more });
}

/** `new`, `same`, or the code of the refusal. */
function outcomeOf(text: string, more: More = {}): string {
  const checked = check(text, more);
  return Result.isSuccess(checked) ? checked.success.news : checked.failure.code;
}

test("bug: a server of the web froze the node with many roots of one key", () => {
  const ended = { ca: true, notBefore: later(-3), notAfter: later(-2) };
  const keyOf = forge("Root", { ...ended, algorithm: "p256" });
  const text = bundleOf(Array.from({ length: 400 }, () => forge("Root", { ...ended, keyOf })));
  for (const pin of [undefined, markKey(certificate(keyOf))]) {
    const before = process.cpuUsage();
    assert.is(outcomeOf(text, { pin }), "bundle-unpinned");
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 2_000_000, `${(user + system) / 1_000} ms`);
  }
});

test("any root that is valid counts where there is no pin", () => {
  const ended = forge("Old Root", { ca: true, notBefore: later(-3), notAfter: later(-2) });
  const root = forge("Root", { ca: true });
  const below = forge("CA", { ca: true, issuer: root });
  assert.is(outcomeOf(bundleOf([below, ended, root])), "new");
  assert.is(outcomeOf(bundleOf([below, ended])), "bundle-unpinned");
});

test("bug: a bundle without a sequence was new at each fetch", () => {
  const cas = [forge("Root", { ca: true }), forge("Root 2", { ca: true })];
  const kept = Result.getOrThrow(parseSpiffeBundle(bundleOf(cas)));
  assert.is(outcomeOf(bundleOf(cas), { kept }), "same");
  assert.is(outcomeOf(bundleOf(cas.toReversed()), { kept }), "same");
  assert.is(outcomeOf(bundleOf(cas.slice(1)), { kept }), "new", "other content");
  assert.is(outcomeOf(bundleOf(cas, 1), { kept }), "new", "the sequence is to be remembered");
});

test("bug: what ends a refusal for the last bundle was not named where its CA counts from the beginning again", () => {
  const [root, other] = [forge("Root", { ca: true }), forge("Root 2", { ca: true })];
  const kept = Result.getOrThrow(parseSpiffeBundle(bundleOf([root], 7)));
  const refused: [code: string, text: string][] = [
    ["bundle-replaced", bundleOf([other], 8)],
    ["bundle-rollback", bundleOf([root], 1)],
    ["bundle-equivocation", bundleOf([root, other], 7)],
  ];
  for (const [code, text] of refused) {
    const checked = check(text, { kept });
    assert.ok(Result.isFailure(checked));
    assert.is(checked.failure.code, code);
    assert.ok(checked.failure.message.endsWith(`: rm ${path}`), checked.failure.message);
  }
});

test.run();
