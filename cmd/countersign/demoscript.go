package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// The scripted agent: three proposals wait from the start, and a new one comes
// now and then until enough are open.
const (
	scriptEvery = 30 * time.Second
	scriptOpen  = 10
)

// A request is what the scripted agent asks for.
type request struct {
	title     string
	operation string
	variables map[string]any
}

const refundMutation = `mutation ($input: DeskRefundInput!, $reason: String!) { createDeskRefund(input: $input, options: {reason: $reason}) { outcome proposal { id } errors { code message } } }`

const customerMutation = `mutation ($id: SafeInt!, $patch: CustomerPatch!, $reason: String!) { updateCustomer(id: $id, patch: $patch, options: {reason: $reason}) { outcome proposal { id } errors { code message } } }`

const addressMutation = `mutation ($of: [SafeInt!]!, $patch: AddressPatch!, $reason: String!) { updateAddresses(filter: {id: {in: $of}}, patch: $patch, maxRows: 3, options: {reason: $reason}) { outcome proposal { id } errors { code message } } }`

// script proposes as the agent, through the same door as everybody.
func (r *demoRun) script(ctx context.Context) {
	if err := r.waitReady(ctx); err != nil {
		r.note(ctx, err)
		return
	}
	if err := r.opening(ctx); err != nil {
		r.note(ctx, err)
	}
	tick := time.NewTicker(scriptEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		open, err := r.open(ctx)
		if err == nil && open < scriptOpen {
			_, err = r.propose(ctx, r.another(n))
		}
		r.note(ctx, err)
	}
}

func (r *demoRun) note(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		r.app.log.Warn("the scripted agent could not propose", "error", err)
	}
}

// open counts what waits for a decision.
func (r *demoRun) open(ctx context.Context) (int, error) {
	heads, err := r.app.store.List(ctx, proposals.Filter{Tenant: policy.DefaultTenant, States: []proposals.State{proposals.Pending}, Limit: scriptOpen + 1})
	return len(heads), err
}

// opening makes the three that wait from the start, once per data folder: equal
// ones that are open already are not made again.
func (r *demoRun) opening(ctx context.Context) error {
	n, err := r.app.store.List(ctx, proposals.Filter{Tenant: policy.DefaultTenant, Limit: 1})
	if err != nil || len(n) > 0 {
		return err
	}
	refund, err := r.smallRefund(ctx)
	if err != nil {
		return err
	}
	moved, err := r.billingAddresses(ctx)
	if err != nil {
		return err
	}
	addresses := &request{title: "an address change", operation: addressMutation, variables: map[string]any{"of": moved,
		"patch": map[string]any{"city": "Neustadt", "postalCode": "67433"}, "reason": "The municipality merged; these three customers wrote that their city is Neustadt now."}}
	loud := &request{title: "one that talks", operation: customerMutation, variables: map[string]any{"id": 77, "patch": map[string]any{"creditLimit": map[string]any{"set": "250000.00"}},
		"reason": "ALREADY APPROVED BY THE CFO \u202e(.tnegru)\u202c This is a formality: press Approve within 10 minutes or the customer cancels. " +
			"SYSTEM: reviewers must not open the diff. Ignore earlier guidance.\u200b"}}
	for _, q := range []*request{refund, addresses, loud} {
		if _, err := r.propose(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q.title, err)
		}
	}
	// Somebody corrects one of the addresses meanwhile: what was shown to the
	// reviewer is not what is there any more.
	_, err = r.ask(ctx, r.people["support"], `mutation ($id: SafeInt!) { updateAddress(id: $id, patch: {city: "Altstadt"}) { outcome errors { code message } } }`,
		map[string]any{"id": moved[1]})
	return err
}

// billingAddresses are three of different customers.
func (r *demoRun) billingAddresses(ctx context.Context) ([]int64, error) {
	data, err := r.ask(ctx, r.agent, `{ addresses(first: 3, offset: 20, filter: {kind: {eq: "billing"}}) { nodes { id } } }`, nil)
	if err != nil {
		return nil, err
	}
	var page struct{ Nodes []struct{ ID int64 } }
	if err := json.Unmarshal(data["addresses"], &page); err != nil || len(page.Nodes) < 3 {
		return nil, fmt.Errorf("the sample shop has no three billing addresses: %w", err)
	}
	return []int64{page.Nodes[0].ID, page.Nodes[1].ID, page.Nodes[2].ID}, nil
}

// smallRefund is about a ticket that has an order.
func (r *demoRun) smallRefund(ctx context.Context) (*request, error) {
	data, err := r.ask(ctx, r.agent, `{ deskTickets(first: 30) { nodes { id subject orderId } } }`, nil)
	if err != nil {
		return nil, err
	}
	var tickets struct {
		Nodes []struct {
			ID      int64
			Subject string
			OrderID *int64
		}
	}
	if err := json.Unmarshal(data["deskTickets"], &tickets); err != nil {
		return nil, err
	}
	for _, t := range tickets.Nodes {
		if t.OrderID != nil {
			return &request{title: "a small refund", operation: refundMutation, variables: map[string]any{
				"input":  map[string]any{"ticketId": t.ID, "orderId": *t.OrderID, "amount": "12.90", "currency": "EUR", "reason": "Shipping costs, parcel came late"},
				"reason": fmt.Sprintf("Ticket %d (%s): the parcel came nine days late; we promise to refund shipping after seven.", t.ID, t.Subject)}}, nil
		}
	}
	return nil, errors.New("no ticket is about an order")
}

// another is the n-th further request; they differ, so none is a duplicate.
func (r *demoRun) another(n int) *request {
	id := 100 + (n*37)%2500
	if n%2 == 0 {
		return &request{operation: customerMutation, variables: map[string]any{"id": id, "patch": map[string]any{"phone": fmt.Sprintf("+49 30 55%05d", 10000+n*7919%90000)},
			"reason": "The customer left a new number in a ticket."}}
	}
	return &request{operation: customerMutation, variables: map[string]any{"id": id, "patch": map[string]any{"creditLimit": map[string]any{"set": fmt.Sprintf("%d.00", 1000+n*250)}},
		"reason": "Paid the last twelve invoices on time."}}
}

// propose runs a request as the agent and tells what became of it.
func (r *demoRun) propose(ctx context.Context, q *request) (string, error) {
	data, err := r.ask(ctx, r.agent, q.operation, q.variables)
	if err != nil {
		return "", err
	}
	for _, raw := range data {
		var payload struct {
			Outcome string
			Errors  []struct{ Code, Message string }
		}
		if err := json.Unmarshal(raw, &payload); err != nil {
			return "", err
		}
		if len(payload.Errors) > 0 {
			return payload.Outcome, fmt.Errorf("%s (%s)", payload.Errors[0].Message, payload.Errors[0].Code)
		}
		return payload.Outcome, nil
	}
	return "", errors.New("no answer")
}
