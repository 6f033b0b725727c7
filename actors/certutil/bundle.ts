/**
 * Making a trust bundle: the CAs' certificates in the specification's order, intermediates before roots; as PEM or as a
 * SPIFFE bundle, out of both.
 *
 * @module
 */
import { Clock, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, isSelfIssued, parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { formatSpiffeBundle, parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import type { ExistingFiles } from "../files/write_whole.ts";
import { CertutilError } from "./certutil_error.ts";
import { readInputBytes, readTextIfThere } from "./input_file.ts";
import { type Outcome, writeOutputs } from "./outcome.ts";

/** What goes into a bundle, and where it goes. */
export interface MakeBundle {
  /** Files of CA certificates, PEM or DER, and SPIFFE bundles. */
  readonly certs: readonly string[];
  readonly out: string;
  /** PEM, as `trust_pem` takes it, when undefined; or a SPIFFE bundle (JSON), with what it is to say of itself. */
  readonly spiffe?: { readonly sequence?: number | undefined; readonly refreshHintSeconds?: number | undefined };
  readonly existing: ExistingFiles;
}

/**
 * Writes the bundle. A certificate that is in several files is in it once; one that is no CA's is refused. A SPIFFE bundle
 * that takes the place of one without `sequence` counts on from it.
 */
export function makeBundle(
  { certs, out, existing, spiffe }: MakeBundle,
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const found = new Map<string, Certificate>();
    for (const file of certs) {
      for (const certificate of yield* readFile(file)) found.set(certificate.fingerprint, certificate);
    }
    const ordered = inOrder([...found.values()]);
    const at = new Date(yield* Clock.currentTimeMillis);
    const content = spiffe === undefined
      ? ordered.map(({ subject, der }) => `# ${subject.text}\n${formatPem("CERTIFICATE", der)}`).join("")
      : formatSpiffeBundle(ordered, { ...spiffe, sequence: spiffe.sequence ?? (yield* nextSequence(out)) });
    const { lines } = yield* writeOutputs([{
      path: out,
      kind: spiffe === undefined ? "ca-certificate" : "spiffe-bundle",
      content,
    }], existing);
    return { lines: [...lines, ...ordered.map(lineOf)], warnings: warningsOf(ordered, at) };
  });
}

/** A root with its hash: `bundle_pin` of other networks. */
function lineOf(certificate: Certificate): string {
  const { subject: { text } } = certificate;
  return isSelfIssued(certificate) ? `${text}, bundle_pin = "sha256:${markKey(certificate)}"` : text;
}

const readFile = Effect.fnUntraced(function* (file: string) {
  const refuse = (detail: string) =>
    new CertutilError({
      what: "bundle",
      file,
      detail,
      remedy: "Give certificates of CAs, in PEM or DER, or a SPIFFE bundle.",
    });
  const bytes = yield* readInputBytes(file, { what: "certificate", flag: "CERT" });
  if (/^\s*\{/.test(new TextDecoder().decode(bytes.subarray(0, 64)))) return yield* readSpiffe(bytes, refuse);
  const ders = bytes[0] === 0x30 ? [{ label: "CERTIFICATE", der: bytes }] : yield* Effect.fromResult(
    Result.mapError(parsePem(new TextDecoder().decode(bytes)), ({ message }) => refuse(message)),
  );
  const certificates: Certificate[] = [];
  for (const { label, der } of ders) {
    if (label !== "CERTIFICATE") return yield* refuse(`there is a ${label} in it`);
    const parsed = yield* Effect.fromResult(Result.mapError(parseCertificate(der), ({ message }) => refuse(message)));
    if (parsed.basicConstraints?.ca !== true) return yield* refuse(`${parsed.subject.text} is not a CA`);
    certificates.push(parsed);
  }
  if (certificates.length === 0) return yield* refuse("it holds no certificate");
  return certificates;
});

const readSpiffe = Effect.fnUntraced(function* (bytes: Uint8Array, refuse: (detail: string) => CertutilError) {
  const parsed = parseSpiffeBundle(new TextDecoder().decode(bytes));
  const { authorities } = yield* Effect.fromResult(Result.mapError(parsed, ({ message }) => refuse(message)));
  return authorities.length === 0 ? yield* refuse("it holds no certificate") : authorities;
});

/** The number after that of the bundle that the new one replaces; 1 where there is none, or none with a number. */
const nextSequence = Effect.fnUntraced(function* (out: string) {
  const text = yield* readTextIfThere(out, { what: "bundle", flag: "--out" });
  const before = text === undefined ? undefined : Result.getOrUndefined(parseSpiffeBundle(text));
  return (before?.sequence ?? 0) + 1;
});

/** Each certificate before those of its issuer, the roots last; cross-signed CAs that go round in circles as they came. */
function inOrder(certificates: readonly Certificate[]): readonly Certificate[] {
  const ordered: Certificate[] = [];
  const left = new Set(certificates);
  while (left.size > 0) {
    const waits = (one: Certificate) =>
      [...left].some((other) => other !== one && !isSelfIssued(other) && sameBytes(other.issuer.der, one.subject.der));
    const next = [...left].find((one) => !waits(one)) ?? [...left][0]!;
    ordered.push(next);
    left.delete(next);
  }
  return ordered.toSorted((a, b) => Number(isSelfIssued(a)) - Number(isSelfIssued(b)));
}

function warningsOf(certificates: readonly Certificate[], at: Date): readonly string[] {
  const expired = certificates.filter(({ period }) => at > period.notAfter);
  const rootless = certificates.filter((one) =>
    !isSelfIssued(one) && !certificates.some(({ subject }) => sameBytes(subject.der, one.issuer.der))
  );
  return [
    ...expired.map(({ subject, period }) => `${subject.text} expired at ${period.notAfter.toISOString()}`),
    ...rootless.map(({ subject, issuer }) => `${subject.text} is in it without its issuer ${issuer.text}`),
  ];
}
