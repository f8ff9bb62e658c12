-- +goose Up
-- What principals have open and reserved, exactly: one row for each.
CREATE TABLE principal_use (
  tenant    TEXT NOT NULL,
  principal TEXT NOT NULL,
  version   INTEGER NOT NULL,
  doc       TEXT NOT NULL,
  PRIMARY KEY (tenant, principal)
);
