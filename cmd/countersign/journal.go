package main

import (
	"context"
	"fmt"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy/audit"
	"github.com/countersign/countersign/store"
)

// openJournal makes what keeps direct writes, denials and sign-ins that failed,
// and appends what a process that was killed was writing.
func (a *app) openJournal(ctx context.Context, dataDir string) error {
	cfg := a.cfg.Telemetry.Audit
	a.journal = &audit.Journal{Store: a.store, Sample: cfg.Denials, Failed: func(err error) { a.log.Error("audit events wait for the store", "error", err) }}
	if cfg.Writes == "none" {
		return nil
	}
	intents, left, err := store.OpenIntents(ctx, dataDir, a.store)
	if connectors.CodeOf(err) == connectors.CodeUnsupported {
		// Files cannot be locked on this system.
		a.log.Warn("direct writes whose process is killed before they are recorded leave nothing in the audit log", "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("the journal of direct writes in %s: %w", dataDir, err)
	}
	if left > 0 {
		a.log.Warn("the last process ended while direct writes were recorded; what is not in the audit log yet is there as write.unknown", "looked at", left)
	}
	a.intents, a.journal.Intents = intents, intents
	return nil
}
