/**
 * The errors of `hypha-certutil`.
 *
 * @module
 */
import { dirname } from "node:path";
import { Data } from "effect";
import type { FileNotWritten } from "../files/write_whole.ts";
import type { IssueError } from "../../pki/issue/mod.ts";
import { shellWord } from "../files/shell_word.ts";

/** One message: what could not be done, which file, why, and what to do. */
export class CertutilError extends Data.TaggedError("CertutilError")<{
  /** Verb and object: `read CA key`. */
  readonly what: string;
  readonly file?: string | undefined;
  readonly detail: string;
  /** A whole sentence to the operator. */
  readonly remedy: string;
}> {
  override get message(): string {
    const file = this.file === undefined ? "" : ` ${this.file}`;
    return `Cannot ${this.what}${file}: ${this.detail.replace(/\.$/, "")}. ${this.remedy}`;
  }
}

const remedies: Readonly<Record<IssueError["problem"], string>> = {
  "common-name": "Choose another --common-name or --organization.",
  "country": "Give --country as two letters.",
  "san": "Write it as DNS:name, IP:address or URI:spiffe://domain/role/name.",
  "validity": "Check --days, --not-before and --not-after.",
  "issuer-certificate": "Give the CA's certificate with --ca-cert.",
  "issuer-key":
    "Give the CA's key as PKCS#8 PEM with --ca-key; convert it with: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW.",
  "issuer-mismatch": "Give the key that was made along with --ca-cert.",
  "issuer-not-ca": "Sign with the root's or the intermediate's certificate and key.",
  "key": "Give the key as unencrypted PKCS#8 PEM.",
  "csr": "Make a new request: hypha-certutil csr.",
  "csr-role": "Give it with --role and --domain or with --san, or have the node ask for another.",
  "serial": "Repair or remove the line in the revocation record.",
  "crl": "Check --days.",
};

/** An issuing function's error in the operator's words. */
export function fromIssueError(what: string, error: IssueError, file?: string): CertutilError {
  const remedy = remedies[error.problem].replace(" OLD ", ` ${file ?? "OLD"} `);
  return new CertutilError({ what, file, detail: error.detail, remedy });
}

/** A writing error in the operator's words. */
export function fromFileNotWritten({ path, problem, detail }: FileNotWritten): CertutilError {
  const remedy = {
    "exists": "Nothing was changed; choose another name, or overwrite it with --force.",
    "missing-folder": `Make the folder first: mkdir -p ${shellWord(dirname(path))}`,
    "not-permitted": "Choose a folder that you may write to.",
    "other": "Nothing was changed; choose another place.",
  }[problem];
  return new CertutilError({ what: "write", file: path, detail, remedy });
}
