-- +goose Up
-- What is used of budgets, leases of all nodes included: one row for each, of
-- the window that began at started_at. per is the window's length; times are
-- microseconds.
CREATE TABLE budget_use (
  tenant     text NOT NULL,
  principal  text NOT NULL,
  what       text NOT NULL,
  per        bigint NOT NULL,
  started_at bigint NOT NULL,
  used       bigint NOT NULL,
  PRIMARY KEY (tenant, principal, what, per)
);
