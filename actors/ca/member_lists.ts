/**
 * The lists of a CA's register as its member of the network has them: files that the exchange of lists reads, and a trust snapshot.
 *
 * @module
 */
import { dirname } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { ownDomain } from "../../pki/crl_marks.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { formatPem } from "../../pki/pem.ts";
import { defaultPolicy, type LocatedCrl, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import { keptPath } from "../files/state_directory.ts";
import { writeWhole } from "../files/write_whole.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { type CrlRow, derOf } from "./crl_rows.ts";

/** Members of a CA's domain name their role; what others may claim, no certificate of the CA says. */
const policy = { ...defaultPolicy, roles: "require" } as const;

/** The lists as they were read last. */
export interface MemberLists {
  readonly snapshot: TrustSnapshot;
  /** The parsed list of each file, by path. */
  readonly files: ReadonlyMap<string, { readonly sha256: string; readonly list: LocatedCrl }>;
}

/** What the lists are read with. */
export interface MemberListsTerms {
  readonly ca: CertificateAuthority;
  /** State directory of the member. */
  readonly stateDir: string;
  readonly before: MemberLists | undefined;
  readonly at: Date;
}

type ListRow = Pick<CrlRow, "issuer" | "kind" | "sha256">;

/** Where each list of the register lies: base and delta where there are such, else the complete list. */
function placesOf<Row extends ListRow>(rows: readonly Row[], stateDir: string): ReadonlyMap<string, Row> {
  const withBase = new Set(rows.filter(({ kind }) => kind === "base").map(({ issuer }) => issuer));
  const offered = rows.filter(({ issuer, kind }) => (kind === "complete") !== withBase.has(issuer));
  return new Map(offered.map((row) => {
    const kind = row.kind === "delta" ? "delta" : "complete";
    return [keptPath(stateDir, { domain: ownDomain, key: row.issuer, scope: "all", kind }), row];
  }));
}

/** Reads what changed in the register. The same object comes back where nothing did. */
export function readMemberLists(terms: MemberListsTerms) {
  return Effect.gen(function* () {
    const { ca, stateDir, before } = terms;
    const rows = ca.register.read((rows) => rows.all<ListRow>("SELECT issuer, kind, sha256 FROM crls"));
    const seen = placesOf(yield* Effect.fromResult(rows), stateDir);
    const isSame = before !== undefined && seen.size === before.files.size &&
      [...seen].every(([path, { sha256 }]) => before.files.get(path)?.sha256 === sha256);
    return isSame ? before : yield* takeLists(terms, seen);
  });
}

const takeLists = Effect.fnUntraced(
  function* ({ ca, stateDir, before, at }: MemberListsTerms, rows: ReadonlyMap<string, ListRow>) {
    const files = yield* FileSystem;
    const retired = ca.retired.flatMap(({ intermediates }) => intermediates);
    const cas = [...ca.intermediates, ...retired, ca.anchor];
    const known = new Map([...before?.files.values() ?? []].map((file) => [file.sha256, file.list]));
    const next = new Map<string, { readonly sha256: string; readonly list: LocatedCrl }>();
    for (const [path, row] of rows) {
      const { sha256 } = row;
      const present = known.get(sha256);
      if (present !== undefined && before?.files.get(path)?.sha256 === sha256) {
        next.set(path, { sha256, list: present });
        continue;
      }
      const der = yield* Effect.fromResult(ca.register.read((all) => derOf(all, row)));
      const reader = new CrlReader({ cas, profile: policy.profile, sizeBytes: der.length });
      reader.push(der);
      const [list] = yield* Effect.fromResult(reader.finish());
      if (list === undefined) continue;
      for (const folder of new Set([stateDir, dirname(path)])) {
        yield* files.makeDirectory(folder, { recursive: true, mode: 0o700 });
      }
      yield* writeWhole([{ path, content: der, mode: 0o600 }], "replace");
      next.set(path, { sha256, list });
    }
    const snapshot = yield* Effect.fromResult(Result.map(
      makeTrustSnapshot({
        trustPem: cas.map(({ der }) => formatPem("CERTIFICATE", der)).join(""),
        crlsPem: [...next.values()].map(({ list }) => list),
        policy,
        ownName: ca.domain,
        generation: (before?.snapshot.generation ?? 0) + 1,
        at,
      }),
      (made) => made.snapshot,
    ));
    return { snapshot, files: next } satisfies MemberLists;
  },
);
