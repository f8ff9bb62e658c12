-- +goose Up
-- Times are microseconds since 1970 in UTC; 0 is none. Documents that hold data
-- of the sources are blobs, encrypted where there is a key.
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE control (
  tenant  TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  doc     TEXT NOT NULL
);

CREATE TABLE proposal (
  tenant     TEXT NOT NULL,
  id         TEXT NOT NULL,
  handle     TEXT NOT NULL,
  state      TEXT NOT NULL,
  version    INTEGER NOT NULL,
  dedupe_key TEXT NOT NULL,
  dedupes    INTEGER NOT NULL,
  principal  TEXT NOT NULL,
  behalf     TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  wake_at    INTEGER NOT NULL,
  doc        TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX proposal_handle ON proposal (tenant, handle);
CREATE UNIQUE INDEX proposal_dedupe ON proposal (tenant, dedupe_key) WHERE dedupes = 1;
CREATE INDEX proposal_wake ON proposal (wake_at) WHERE wake_at > 0;
CREATE INDEX proposal_state ON proposal (tenant, state, id);

CREATE TABLE revision (
  tenant   TEXT NOT NULL,
  proposal TEXT NOT NULL,
  number   INTEGER NOT NULL,
  doc      BLOB NOT NULL,
  PRIMARY KEY (tenant, proposal, number),
  FOREIGN KEY (tenant, proposal) REFERENCES proposal (tenant, id)
);

CREATE TABLE decision (
  tenant   TEXT NOT NULL,
  proposal TEXT NOT NULL,
  number   INTEGER NOT NULL,
  doc      BLOB NOT NULL,
  PRIMARY KEY (tenant, proposal, number),
  FOREIGN KEY (tenant, proposal) REFERENCES proposal (tenant, id)
);

CREATE TABLE attempt (
  tenant   TEXT NOT NULL,
  proposal TEXT NOT NULL,
  change   INTEGER NOT NULL,
  number   INTEGER NOT NULL,
  state    TEXT NOT NULL,
  doc      BLOB NOT NULL,
  PRIMARY KEY (tenant, proposal, change, number),
  FOREIGN KEY (tenant, proposal) REFERENCES proposal (tenant, id)
);

CREATE TABLE idempotency (
  tenant     TEXT NOT NULL,
  principal  TEXT NOT NULL,
  key_hash   TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  doc        BLOB NOT NULL,
  PRIMARY KEY (tenant, principal, key_hash)
);
CREATE INDEX idempotency_expires ON idempotency (expires_at);

CREATE TABLE outbox (
  tenant   TEXT NOT NULL,
  id       TEXT NOT NULL,
  topic    TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  next_try INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  payload  TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
);
CREATE INDEX outbox_next ON outbox (next_try);

CREATE TABLE audit_event (
  n              INTEGER PRIMARY KEY AUTOINCREMENT,
  id             TEXT NOT NULL UNIQUE,
  tenant         TEXT NOT NULL,
  seq            INTEGER,
  hash           TEXT,
  at             INTEGER NOT NULL,
  kind           TEXT NOT NULL,
  subject        TEXT NOT NULL,
  from_state     TEXT NOT NULL,
  to_state       TEXT NOT NULL,
  actors         TEXT NOT NULL,
  policy_version TEXT NOT NULL,
  trace_id       TEXT NOT NULL,
  payload_digest TEXT NOT NULL
);
CREATE UNIQUE INDEX audit_event_seq ON audit_event (tenant, seq);
CREATE INDEX audit_event_unsealed ON audit_event (tenant, n) WHERE seq IS NULL;
CREATE INDEX audit_event_subject ON audit_event (tenant, subject, n);

CREATE TABLE audit_payload (
  event_id TEXT PRIMARY KEY,
  salt     BLOB NOT NULL,
  payload  BLOB NOT NULL
);

CREATE TABLE audit_head (
  tenant TEXT PRIMARY KEY,
  seq    INTEGER NOT NULL,
  hash   TEXT NOT NULL
);

CREATE TABLE principal (
  tenant  TEXT NOT NULL,
  id      TEXT NOT NULL,
  kind    TEXT NOT NULL,
  version INTEGER NOT NULL,
  doc     TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
);

CREATE TABLE credential (
  id         TEXT PRIMARY KEY,
  tenant     TEXT NOT NULL,
  kind       TEXT NOT NULL,
  hash       TEXT NOT NULL UNIQUE,
  alias      TEXT UNIQUE,
  principal  TEXT NOT NULL,
  version    INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  doc        TEXT NOT NULL
);
CREATE INDEX credential_principal ON credential (tenant, principal, kind);
CREATE INDEX credential_kind ON credential (tenant, kind);

CREATE TABLE source_identity (
  tenant     TEXT NOT NULL,
  source     TEXT NOT NULL,
  first      TEXT NOT NULL,
  first_at   INTEGER NOT NULL,
  current    TEXT NOT NULL,
  current_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, source)
);

CREATE TABLE pin (
  version TEXT PRIMARY KEY,
  lock    BLOB NOT NULL
);
