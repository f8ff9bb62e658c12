-- +goose Up
-- Signed heads of the audit chains, and where a chain begins whose older events
-- were removed.
CREATE TABLE audit_checkpoint (
  tenant    TEXT NOT NULL,
  seq       bigint NOT NULL,
  hash      TEXT NOT NULL,
  at        bigint NOT NULL,
  key_id    TEXT NOT NULL,
  signature bytea NOT NULL,
  PRIMARY KEY (tenant, seq)
);

CREATE TABLE audit_base (
  tenant TEXT PRIMARY KEY,
  seq    bigint NOT NULL,
  hash   TEXT NOT NULL
);

CREATE INDEX audit_event_at ON audit_event (tenant, at);
