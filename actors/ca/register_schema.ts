/**
 * The tables of the register.
 *
 * Times are milliseconds since 1970. Serials, CRL numbers and hashes are text: SQLite's integers end at 2⁶³. Serials are lower
 * case without leading zeros, hashes hexadecimal, CRL numbers decimal. `issuer` is the SHA-256 of the issuing CA's SPKI.
 *
 * The bytes of a list are in pieces, so that no transaction writes megabytes. Those of a large list are there before the transaction
 * that makes it the one in force; pieces of no list are removed later.
 *
 * @module
 */

/** Tells the register from other SQLite files: `HyCA`. */
export const applicationId = 0x48794341;
/** Version of the tables below. */
export const schemaVersion = 3;

/** Tables that version 3 added: a register of version 2 gets them when it is opened. */
export const approvalSchema = `
CREATE TABLE approval_requests (
  id TEXT PRIMARY KEY,
  line TEXT NOT NULL,
  policy TEXT NOT NULL,
  operation TEXT NOT NULL,
  asked INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  token TEXT REFERENCES tokens (id),
  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'executed', 'denied', 'lapsed')),
  ended INTEGER
) STRICT;
CREATE INDEX approval_requests_by_state ON approval_requests (state, asked);
CREATE INDEX approval_requests_ended ON approval_requests (ended) WHERE state <> 'open';
CREATE INDEX approval_requests_by_token ON approval_requests (token);
CREATE TABLE approvals (
  request TEXT NOT NULL REFERENCES approval_requests (id),
  approver TEXT NOT NULL,
  line TEXT NOT NULL,
  PRIMARY KEY (request, approver)
) STRICT;
CREATE TABLE revocation_acts (
  at INTEGER NOT NULL,
  names INTEGER NOT NULL
) STRICT;
`;

/** Makes the tables in an empty file. */
export const schema: string = `
CREATE TABLE facts (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  secret_hash TEXT NOT NULL,
  role TEXT NOT NULL,
  name TEXT NOT NULL,
  sans TEXT NOT NULL,
  identity TEXT NOT NULL,
  replaces INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  void INTEGER NOT NULL DEFAULT 0,
  used_key TEXT,
  used_address TEXT
) STRICT;
CREATE INDEX tokens_by_identity ON tokens (identity);
CREATE TABLE requests (
  token TEXT PRIMARY KEY REFERENCES tokens (id),
  asked INTEGER NOT NULL,
  decision TEXT CHECK (decision IN ('approved', 'denied')),
  decided INTEGER
) STRICT;
CREATE INDEX requests_open ON requests (asked) WHERE decision IS NULL;
CREATE TABLE certificates (
  fingerprint TEXT PRIMARY KEY,
  issuer TEXT NOT NULL,
  serial TEXT NOT NULL,
  identity TEXT NOT NULL,
  name TEXT NOT NULL,
  key TEXT,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  der BLOB,
  predecessor TEXT UNIQUE REFERENCES certificates (fingerprint),
  token TEXT UNIQUE REFERENCES tokens (id),
  UNIQUE (issuer, serial)
) STRICT;
CREATE INDEX certificates_by_identity ON certificates (identity);
CREATE INDEX certificates_by_begin ON certificates (identity, not_before);
CREATE INDEX certificates_by_identity_and_end ON certificates (identity, not_after);
CREATE INDEX certificates_by_name ON certificates (name, identity);
CREATE INDEX certificates_by_end ON certificates (not_after);
CREATE INDEX certificates_by_issuer ON certificates (issuer, not_after);
CREATE INDEX certificates_by_serial ON certificates (serial);
CREATE INDEX certificates_by_key ON certificates (key);
CREATE TABLE revocations (
  position INTEGER PRIMARY KEY,
  issuer TEXT NOT NULL,
  serial TEXT NOT NULL,
  revoked INTEGER NOT NULL,
  reason TEXT NOT NULL,
  not_after INTEGER,
  UNIQUE (issuer, serial)
) STRICT;
CREATE INDEX revocations_by_end ON revocations (not_after);
CREATE TABLE locked_identities (
  identity TEXT PRIMARY KEY,
  since INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE TABLE revoked_names (
  identity TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) STRICT;
CREATE TABLE crls (
  issuer TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('complete', 'base', 'delta')),
  number TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  upto INTEGER NOT NULL,
  this_update INTEGER NOT NULL,
  next_update INTEGER NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (issuer, kind)
) STRICT;
CREATE TABLE crl_pieces (
  sha256 TEXT NOT NULL,
  part INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  UNIQUE (sha256, part)
) STRICT;
${approvalSchema}`;
