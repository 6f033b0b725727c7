/**
 * `POST /resources/fetch`: brings the files of a reference into `artifacts/`.
 *
 * @module
 */
import { Effect } from "effect";
import type { HuggingfaceReference, Reference, UriReference } from "../../../transport/protocols/messages.ts";
import type { BridgeContext } from "./context.ts";
import { type FetchedFile, fetchSlice } from "./fetch_slice.ts";
import { type BridgeProblem, connectorFailed, invalidRequest, outOfScope } from "./problem.ts";
import {
  type FetchTooSlow,
  fetchWebFile,
  hubFile,
  parseWebAddress,
  shownPath,
  type WebFile,
  webFileName,
} from "./web.ts";

/** Fetches the files of a reference. A second file of the same name replaces the first. */
export function fetchResource(
  reference: Reference,
  context: BridgeContext,
): Effect.Effect<readonly FetchedFile[], BridgeProblem> {
  switch (reference.type) {
    case "uri":
      return fetchUri(reference, context);
    case "huggingface":
      return fetchHub(reference, context);
    case "scheduler":
      return fetchSlice(reference, context);
    case "peers":
      // As in the existing workers: a job gets files of peers only where the scheduler names the peer.
      return Effect.fail(invalidRequest("unsupported strategy"));
  }
}

function fetchUri({ value }: UriReference, context: BridgeContext) {
  return Effect.flatMap(
    parseWebAddress(value),
    (url) => fetchAll([{ url, path: `artifacts/${webFileName(url, 0)}`, token: undefined }], context),
  );
}

function fetchHub({ repository, revision, filenames, token }: HuggingfaceReference, context: BridgeContext) {
  if (repository.trim() === "") return Effect.fail(invalidRequest("repository must not be empty"));
  if (filenames.length === 0 || filenames.some((name) => name.trim() === "")) {
    return Effect.fail(invalidRequest("filenames must not be empty"));
  }
  if (filenames.length > context.limits.filesMax) {
    return Effect.fail(invalidRequest(`more than ${context.limits.filesMax} filenames`));
  }
  const steps = [repository, revision ?? "main", ...filenames].flatMap((path) => path.split("/"));
  if (steps.some((step) => step === "" || step === "." || step === "..")) {
    return Effect.fail(invalidRequest("path traversal is not allowed"));
  }
  return fetchAll(
    filenames.map((name) => ({
      ...hubFile(context.web.hubUrl, { repository, revision, token }, name),
      path: `artifacts/${name}`,
    })),
    context,
  );
}

function fetchAll(
  files: readonly WebFile[],
  { directory, limits, web, report, jobId: job }: BridgeContext,
): Effect.Effect<readonly FetchedFile[], BridgeProblem> {
  return Effect.forEach(files, (file) => {
    const { path } = file, shown = shownPath(file);
    const say = (event: string, sizeBytes: number, more: object) =>
      report({
        level: "info",
        event,
        message: `${shown}: ${sizeBytes} bytes from ${file.url.host}`,
        fields: { job, path: shown, sizeBytes, host: file.url.host, ...more },
      });
    const progress = (sizeBytes: number) => say("job.fetch.progress", sizeBytes, {});
    return fetchWebFile(file, directory, limits, web, progress).pipe(
      Effect.catchTag("FetchTooSlow", (late) => Effect.fail(tooSlow(late))),
      Effect.map(({ sizeBytes, sha256, isCached }) => {
        say("job.fetch.done", sizeBytes, { sha256, isCached });
        return { path, size: sizeBytes };
      }),
    );
  });
}

/** Final where bytes came: another try would begin with the first one. A server that sent nothing may serve the next try. */
function tooSlow({ address, timeoutMs, sizeBytes, came }: FetchTooSlow): BridgeProblem {
  const detail = `${address} takes longer than [fetch] timeout_ms = ${timeoutMs} allows: ${came}`;
  return sizeBytes === 0 ? connectorFailed(detail) : outOfScope(detail);
}
