/**
 * Fetches a partner's bundle, checks it and keeps it: the trust store takes up the file.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { dirname } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { markKey } from "../../pki/crl_marks.ts";
import { formatSpiffeBundle, parseSpiffeBundle, type SpiffeBundle } from "../../pki/spiffe_bundle.ts";
import type { AskHttps } from "../enrolment/ask_https.ts";
import { readWhole } from "../files/read_whole.ts";
import { writeWhole } from "../files/write_whole.ts";
import { type BundleCode, BundleRefused } from "./bundle_refused.ts";
import { type BundleTerms, checkBundle, type CheckedBundle } from "./check_bundle.ts";

/** Octets of a bundle: a thousand CA certificates of a kilobyte with their keys, in base64. */
export const bundleBytesMax = 4 * 1024 * 1024;

/** What is fetched, and where it is kept. */
export interface BundlePlace extends Omit<BundleTerms, "kept"> {
  readonly ask: AskHttps;
}

/** Fetches the bundle. Nothing is written unless it holds, and is news. No redirect is followed. */
export function fetchBundle(place: BundlePlace): Effect.Effect<CheckedBundle, BundleRefused, FileSystem | Path> {
  const { domain, path } = place;
  const refuse = (code: BundleCode, detail: string) => new BundleRefused({ code, domain, detail });
  return Effect.gen(function* () {
    const kept = yield* readKept(place);
    const { chain, status, body } = yield* request(place);
    if (status !== 200) return yield* refuse("bundle-unreachable", `the answer of ${place.url} is ${status}`);
    const text = Buffer.from(body).toString("utf8");
    const checked = yield* Effect.fromResult(checkBundle({ chain, text }, { ...place, kept }));
    if (checked.news === "same") return checked;
    const { authorities, sequence, refreshHintSeconds } = checked.bundle;
    const content = formatSpiffeBundle(authorities, { sequence, refreshHintSeconds });
    const files = yield* FileSystem;
    yield* Effect.ignore(files.makeDirectory(dirname(path), { recursive: true, mode: 0o700 }));
    yield* Effect.mapError(
      writeWhole([{ path, content, mode: 0o600 }], "replace"),
      ({ message }) => refuse("bundle-unstored", message),
    );
    return checked;
  });
}

/** The request tells no secret: the server is judged with the answer, which may bring the root. */
function request({ ask, url, domain, profile }: BundlePlace) {
  return Effect.suspend(() => {
    const { origin, pathname, search } = new URL(url);
    let chain: readonly Uint8Array[] = [];
    const judge = (shown: readonly Uint8Array[]) => void (chain = shown);
    const answered = ask({
      url: origin,
      path: `${pathname}${search}`,
      method: "GET",
      judge,
      answerBytesMax: bundleBytesMax,
      ...(profile === "https_web" ? { server: "web" } : {}),
    });
    return Effect.mapBoth(answered, {
      onSuccess: ({ status, body }) => ({ chain, status, body }),
      onFailure: ({ code, detail }) =>
        new BundleRefused({
          code: code === "answer-malformed"
            ? "bundle-malformed"
            : code === "ca-not-trusted"
            ? "bundle-server"
            : "bundle-unreachable",
          domain,
          detail,
        }),
    });
  });
}

/**
 * The bundle that lies there; undefined where there is none that has the pinned root. Fails where it cannot be read: what follows
 * it could not be told from what it replaced.
 */
function readKept(
  { path, pin, domain }: BundlePlace,
): Effect.Effect<SpiffeBundle | undefined, BundleRefused, FileSystem> {
  const options = { path, what: "partner's bundle", bytesMax: 4 * bundleBytesMax, key: "state_dir" };
  return Effect.matchEffect(readWhole(options), {
    onSuccess: ({ text }) => {
      const bundle = Result.getOrUndefined(parseSpiffeBundle(text));
      return Effect.succeed(
        bundle?.authorities.some((each) => pin === undefined || markKey(each) === pin) === true ? bundle : undefined,
      );
    },
    onFailure: ({ problem, message }) =>
      problem === "missing"
        ? Effect.undefined
        : Effect.fail(new BundleRefused({ code: "bundle-unstored", domain, detail: message })),
  });
}
