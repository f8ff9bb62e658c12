-- +goose Up
-- What is used of budgets, leases of all nodes included: one row for each, of
-- the window that began at started_at. per is the window's length; times are
-- microseconds.
CREATE TABLE budget_use (
  tenant     TEXT NOT NULL,
  principal  TEXT NOT NULL,
  what       TEXT NOT NULL,
  per        INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  used       INTEGER NOT NULL,
  PRIMARY KEY (tenant, principal, what, per)
);
