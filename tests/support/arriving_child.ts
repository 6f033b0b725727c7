/**
 * Takes a list that arrives: for a process with the permissions of a node. Arguments: state directory, DER of the issuer's
 * certificate, DER of the list. Prints what came of it.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import process from "node:process";
import { Effect, Result } from "effect";
import { addPiece, clearIncoming, takeCrl } from "../../actors/files/arriving_crls.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey, ownDomain } from "../../pki/crl_marks.ts";
import { defaultPolicy } from "../../pki/trust.ts";

const [stateDir = "", issuer = "", list = ""] = process.argv.slice(2);
const certificate = Result.getOrThrow(parseCertificate(new Uint8Array(readFileSync(issuer))));
const bytes = new Uint8Array(readFileSync(list));
const sha256 = createHash("sha256").update(bytes).digest("hex");
const taken = Effect.gen(function* () {
  yield* clearIncoming(stateDir);
  yield* addPiece(stateDir, { sha256, offset: 0, bytes });
  return yield* takeCrl({
    stateDir,
    sha256,
    sizeBytes: bytes.length,
    issuer: { domain: ownDomain, key: markKey(certificate), certificate, policy: defaultPolicy },
    newest: () => undefined,
    effective: () => undefined,
    at: new Date(),
  });
});
const { type } = await Effect.runPromise(Effect.provide(taken, realServices));
console.log(type);
