/**
 * The tables of the register.
 *
 * Times are milliseconds since 1970. Serials, CRL numbers and hashes are text: SQLite's integers end at 2⁶³. Serials are lower
 * case without leading zeros, hashes hexadecimal, CRL numbers decimal. `issuer` is the SHA-256 of the issuing CA's SPKI.
 *
 * @module
 */

/** Tells the register from other SQLite files: `HyCA`. */
export const applicationId = 0x48794341;
/** Version of the tables below. */
export const schemaVersion = 1;

/** Makes the tables in an empty file. */
export const schema = `
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
CREATE TABLE certificates (
  fingerprint TEXT PRIMARY KEY,
  issuer TEXT NOT NULL,
  serial TEXT NOT NULL,
  identity TEXT NOT NULL,
  key TEXT,
  not_before INTEGER NOT NULL,
  not_after INTEGER NOT NULL,
  der BLOB,
  predecessor TEXT UNIQUE REFERENCES certificates (fingerprint),
  token TEXT UNIQUE REFERENCES tokens (id),
  UNIQUE (issuer, serial)
) STRICT;
CREATE INDEX certificates_by_identity ON certificates (identity);
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
CREATE TABLE locked_identities (
  identity TEXT PRIMARY KEY,
  since INTEGER NOT NULL,
  reason TEXT NOT NULL
) STRICT;
CREATE TABLE crls (
  issuer TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('complete', 'base', 'delta')),
  number TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  upto INTEGER NOT NULL,
  this_update INTEGER NOT NULL,
  next_update INTEGER NOT NULL,
  der BLOB NOT NULL,
  PRIMARY KEY (issuer, kind)
) STRICT;
`;
