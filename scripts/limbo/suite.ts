/**
 * The format of x509-limbo's test suite, as far as it is used here.
 *
 * @module
 */

/** A name that a peer is looked for by. */
export interface LimboName {
  readonly kind: "DNS" | "IP" | "RFC822";
  readonly value: string;
}

/** One case. Certificates and lists are PEM. */
export interface LimboCase {
  readonly id: string;
  readonly features: readonly string[];
  readonly validation_kind: "CLIENT" | "SERVER";
  readonly trusted_certs: readonly string[];
  readonly untrusted_intermediates: readonly string[];
  readonly peer_certificate: string;
  readonly validation_time: string | null;
  readonly signature_algorithms: readonly string[];
  readonly key_usage: readonly string[];
  readonly extended_key_usage: readonly string[];
  readonly expected_result: "SUCCESS" | "FAILURE";
  readonly expected_peer_name: LimboName | null;
  readonly expected_peer_names: readonly LimboName[];
  readonly max_chain_depth: number | null;
  readonly crls: readonly string[];
}

/** Cases of one file. The suite has some thousands. */
const casesMax = 100_000;

/** Reads a suite. Returns a string with the reason where it is malformed. Ignores fields of later versions. */
export function readSuite(text: string): readonly LimboCase[] | string {
  let suite: unknown;
  try {
    suite = JSON.parse(text);
  } catch (error) {
    return `it is not JSON (${(error as Error).message})`;
  }
  const { version, testcases } = (suite ?? {}) as { version?: unknown; testcases?: unknown };
  if (version !== 1) return "its version is not 1";
  if (!Array.isArray(testcases)) return "it has no testcases";
  if (testcases.length > casesMax) return `it has more than ${casesMax} cases`;
  const cases: LimboCase[] = [];
  for (const [index, given] of (testcases as readonly unknown[]).entries()) {
    const read = readCase(given);
    if (typeof read === "string") return `case ${index}: ${read}`;
    cases.push(read);
  }
  return cases;
}

function readCase(given: unknown): LimboCase | string {
  if (typeof given !== "object" || given === null) return "it is no object";
  const fields = given as Record<string, unknown>;
  const text = (name: string) => typeof fields[name] === "string";
  if (!text("id")) return "it has no id";
  if (!text("peer_certificate")) return "it has no peer_certificate";
  const { expected_result: result, validation_kind: kind } = fields;
  if (result !== "SUCCESS" && result !== "FAILURE") return "its expected_result is neither SUCCESS nor FAILURE";
  if (kind !== "SERVER" && kind !== "CLIENT") return "its validation_kind is neither SERVER nor CLIENT";
  const lists = [
    "features",
    "trusted_certs",
    "untrusted_intermediates",
    "signature_algorithms",
    "key_usage",
    "extended_key_usage",
    "expected_peer_names",
    "crls",
  ];
  const arrays = Object.fromEntries(lists.map((name) => [name, Array.isArray(fields[name]) ? fields[name] : []]));
  const optional = ["validation_time", "expected_peer_name", "max_chain_depth"];
  const nullable = Object.fromEntries(optional.map((name) => [name, fields[name] ?? null]));
  return { ...fields, ...arrays, ...nullable } as unknown as LimboCase;
}
