-- +goose Up
-- Signed heads of the audit chains, and where a chain begins whose older events
-- were removed.
CREATE TABLE audit_checkpoint (
  tenant    TEXT NOT NULL,
  seq       INTEGER NOT NULL,
  hash      TEXT NOT NULL,
  at        INTEGER NOT NULL,
  key_id    TEXT NOT NULL,
  signature BLOB NOT NULL,
  PRIMARY KEY (tenant, seq)
);

CREATE TABLE audit_base (
  tenant TEXT PRIMARY KEY,
  seq    INTEGER NOT NULL,
  hash   TEXT NOT NULL
);

CREATE INDEX audit_event_at ON audit_event (tenant, at);
