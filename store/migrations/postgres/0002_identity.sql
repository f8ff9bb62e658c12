-- +goose Up
-- refresh_at is when a provider is to be asked again; 0: never.
ALTER TABLE principal ADD COLUMN refresh_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX principal_refresh ON principal (refresh_at) WHERE refresh_at > 0;

-- Accounts of one person. Each stands there twice, from either end.
CREATE TABLE bond (
  tenant TEXT NOT NULL,
  a      TEXT NOT NULL,
  b      TEXT NOT NULL,
  how    TEXT NOT NULL,
  by_id  TEXT NOT NULL,
  at     BIGINT NOT NULL,
  PRIMARY KEY (tenant, a, b)
);
