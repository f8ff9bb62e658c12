-- +goose Up
-- What principals have open and reserved, exactly: one row for each.
CREATE TABLE principal_use (
  tenant    text NOT NULL,
  principal text NOT NULL,
  version   bigint NOT NULL,
  doc       text NOT NULL,
  PRIMARY KEY (tenant, principal)
);
