package sql

import (
	"context"
	"strconv"

	"github.com/countersign/countersign/connectors"
)

// Points at which tests end the process: nothing else looks at them.
const (
	pointStatements = "statements" // the steps were run, the marker is still to be completed
	pointCommit     = "commit"     // COMMIT is about to be sent
	pointCommitted  = "committed"  // COMMIT was acknowledged
)

// Apply performs all steps in one transaction. Where and Check are part of it:
// Where stands in the statement, Check is read back after it. With a marker,
// the row that proves the effect is inserted first, so that whoever runs the
// same change at the same time waits for the outcome.
//
// Fails with CodeOutcomeUnknown only when COMMIT was sent and not answered; for
// class transactional the caller runs the same change again.
func (e *Engine) Apply(ctx context.Context, _ *connectors.Permit, c *connectors.Change) (*connectors.Effect, error) {
	w, err := e.writing(c)
	if err != nil {
		return nil, err
	}
	if c.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Deadline)
		defer cancel()
	}
	if w.tx, err = e.db.begin(ctx, txWrite); err != nil {
		return nil, w.ended(ctx, coded(err))
	}
	defer w.tx.rollback()
	if effect, ok, err := w.once(ctx); ok || err != nil {
		if err != nil {
			return nil, w.ended(ctx, w.atStep(0, err))
		}
		return effect, nil
	}
	effect, done, err := w.mark(ctx)
	if err != nil || done {
		return effect, w.ended(ctx, err)
	}
	effect = &connectors.Effect{Evidence: "committed"}
	for i := range c.Steps {
		step, err := w.apply(ctx, i)
		if err != nil {
			return nil, w.ended(ctx, w.atStep(i, err))
		}
		effect.Steps = append(effect.Steps, *step)
	}
	e.reached(pointStatements)
	if err := w.complete(ctx, effect); err != nil {
		return nil, w.ended(ctx, err)
	}
	if err := w.commit(ctx); err != nil {
		return nil, err
	}
	return effect, nil
}

// reached tells a test how far a change has come.
func (e *Engine) reached(point string) {
	if e.failpoint != nil {
		e.failpoint(point)
	}
}

// A writing is one change under way in one transaction.
type writing struct {
	e      *Engine
	change *connectors.Change
	tx     txn
	// probe: targets are locked without waiting, for a preview that is rolled
	// back.
	probe bool
	// read: nothing is locked or run, for a preview that only reads.
	read bool
	// images: what the records hold before is wanted too.
	images bool
	// written are the collections that earlier steps write.
	written map[string]bool
}

// writing checks what can be told of a change without the system.
func (e *Engine) writing(c *connectors.Change) (*writing, error) {
	switch {
	case e.model == nil:
		return nil, connectors.Errorf(connectors.CodeInternal, "the source has no pinned schema")
	case e.cfg.ReadOnly:
		return nil, connectors.Errorf(connectors.CodeUnsupported, "the source is read-only")
	case c == nil || len(c.Steps) == 0 && (c.Marker == nil || !c.Marker.Void):
		return nil, connectors.Errorf(connectors.CodeBadInput, "a change of nothing")
	}
	w := &writing{e: e, change: c, written: make(map[string]bool)}
	for i := range c.Steps {
		if _, _, err := w.act(i); err != nil {
			return nil, w.atStep(i, err)
		}
	}
	return w, nil
}

// act is the collection of a step and what is declared of such writes.
func (w *writing) act(i int) (*table, *connectors.Act, error) {
	s := &w.change.Steps[i]
	if s.Kind == connectors.Call {
		return nil, nil, connectors.Errorf(connectors.CodeUnsupported, "the system has no functions that can be called")
	}
	t, err := w.e.model.table(s.Collection)
	if err != nil {
		return nil, nil, err
	}
	act := t.coll.Acts[s.Kind]
	if act == nil {
		return nil, nil, connectors.Errorf(connectors.CodeUnsupported, "records of the collection cannot be written so")
	}
	return t, act, nil
}

// apply runs one step.
func (w *writing) apply(ctx context.Context, i int) (*connectors.StepEffect, error) {
	if err := ctx.Err(); err != nil {
		return nil, connectors.AsError(err)
	}
	t, act, err := w.act(i)
	if err != nil {
		return nil, err
	}
	s := &w.change.Steps[i]
	switch s.Kind {
	case connectors.Create:
		return w.create(ctx, t, s)
	case connectors.Update:
		return w.update(ctx, t, s, act)
	case connectors.Delete:
		return w.remove(ctx, t, s, act)
	}
	return nil, connectors.Errorf(connectors.CodeBadInput, "there is no such kind of step")
}

// run runs a statement, with its error as one of the contract.
func (w *writing) run(ctx context.Context, st *statement) (*connectors.Block, int, error) {
	block, n, err := w.tx.run(ctx, st)
	if err != nil {
		return nil, 0, coded(err)
	}
	return block, int(n), nil
}

// commit ends the transaction. A context that ended before COMMIT was sent
// leaves nothing done.
func (w *writing) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return connectors.AsError(err)
	}
	w.e.reached(pointCommit)
	if err := w.tx.commit(ctx); err != nil {
		return err
	}
	w.e.reached(pointCommitted)
	return nil
}

// ended makes an error of a context that ended what it is: drivers say it in
// many ways.
func (w *writing) ended(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	switch connectors.CodeOf(err) {
	case connectors.CodeUpstreamUnavailable, connectors.CodeUpstreamError, connectors.CodeInternal:
		return connectors.AsError(timeoutOf(err))
	}
	return err
}

// atStep completes an error with the step it belongs to.
func (w *writing) atStep(i int, err error) error {
	e := *connectors.AsError(err)
	e.Step = i
	e.Path = append([]string{strconv.Itoa(i)}, e.Path...)
	return &e
}

// A txMode says what a transaction is for.
type txMode uint8

const (
	txWrite txMode = iota
	txRead         // one snapshot; nothing is written
	txProbe        // rolled back in the end; never waits for a lock
)

// A txn is an open transaction on a connection of its own. It is used by one
// goroutine.
type txn interface {
	// run runs a statement of constants and reads its whole answer. affected is
	// how many records a write touched. An error ends the transaction.
	run(ctx context.Context, st *statement) (b *connectors.Block, affected int64, err error)
	// commit fails with CodeOutcomeUnknown when it cannot tell; any other error
	// proves that nothing was done. A context that ends does not interrupt it.
	commit(ctx context.Context) error
	// rollback ends what was not committed, and gives the connection back. It
	// may be called after commit.
	rollback()
}
