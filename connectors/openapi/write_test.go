package openapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/openapi"
	"github.com/countersign/countersign/examples/desk"
)

func change(steps ...connectors.Step) *connectors.Change {
	return &connectors.Change{Version: connectors.ChangeVersion, Source: "desk", Steps: steps}
}

func refundStep(key string) connectors.Step {
	return connectors.Step{ID: "refund", Kind: connectors.Call, Function: "createRefund", IdempotencyKey: key, Class: connectors.Idempotent,
		Args: connectors.ObjectOf(
			connectors.Member{Name: "reason", Value: connectors.String("Arrived \"damaged\" <b>")},
			connectors.Member{Name: "ticketId", Value: connectors.Int(400)}, connectors.Member{Name: "orderId", Value: connectors.Int(7)},
			connectors.Member{Name: "amount", Value: connectors.Decimal("19.90")}, connectors.Member{Name: "currency", Value: connectors.String("EUR")})}
}

func commentStep() connectors.Step {
	return connectors.Step{ID: "comment", Kind: connectors.Create, Collection: "comments", Class: connectors.Unverifiable, Return: []string{"body"},
		Set: []connectors.Assign{{Field: "ticketId", Value: connectors.Int(400)}, {Field: "body", Value: connectors.String("Called back.")}}}
}

func updateStep(key string, assignee string) connectors.Step {
	return connectors.Step{ID: "update", Kind: connectors.Update, Collection: "tickets", Class: connectors.Idempotent, IdempotencyKey: key,
		Key: []connectors.Assign{{Field: "id", Value: connectors.Int(400)}},
		Set: []connectors.Assign{{Field: "assignee", Value: connectors.String(assignee)}, {Field: "orderId", Value: connectors.Null}}}
}

func (f *fixture) apply(steps ...connectors.Step) (*connectors.Effect, *connectors.Error) {
	f.t.Helper()
	effect, err := f.src.Apply(context.Background(), nil, change(steps...))
	if err != nil {
		return effect, connectors.AsError(err)
	}
	return effect, nil
}

func TestPreviewsShowAndDoNothing(t *testing.T) {
	f := start(t, nil)
	effect, err := f.src.Preview(context.Background(), nil, change(refundStep("k"), updateStep("k", "maya@desk.example"), commentStep()))
	if err != nil {
		t.Fatal(err)
	}
	r := effect.Steps[0].Request
	if r.Method != "POST" || !strings.HasSuffix(r.URL, "/refunds") || r.Body != `{"ticketId":400,"orderId":7,"amount":"19.90","currency":"EUR","reason":"Arrived \"damaged\" <b>"}` {
		t.Errorf("%+v", r)
	}
	u := effect.Steps[1]
	if len(u.Before) != 1 || len(u.After) != 1 || u.After[0].Get("assignee").Text != "maya@desk.example" || u.Before[0].Version != `"1"` ||
		u.Request.Body != `{"orderId":null,"assignee":"maya@desk.example"}` && u.Request.Body != `{"assignee":"maya@desk.example","orderId":null}` {
		t.Errorf("%+v", u)
	}
	c := effect.Steps[2]
	if len(c.After) != 1 || c.After[0].Key != nil || c.After[0].Get("body").Text != "Called back." || !strings.Contains(fmt.Sprint(c.Unpredictable), "id") || !strings.HasSuffix(c.Request.URL, "/tickets/400/comments") {
		t.Errorf("%+v", c)
	}
	if len(f.desk.Effects()) != 0 {
		t.Errorf("a preview did something: %v", f.desk.Effects())
	}
	text := fmt.Sprintf("%+v", effect)
	if strings.Contains(text, "t0ken") {
		t.Error("the token stands in a preview")
	}
}

func TestApply(t *testing.T) {
	f := start(t, nil)
	effect, err := f.apply(refundStep("k1"), updateStep("k2", "maya@desk.example"), commentStep())
	if err != nil {
		t.Fatal(err, err.Cause, string(err.Upstream))
	}
	if n := f.desk.Effects(); n["createRefund"] != 1 || n["updateTicket"] != 1 || n["createComment"] != 1 {
		t.Errorf("effects %v", n)
	}
	if !bytes.Contains(effect.Steps[0].Result, []byte(`"amount":"19.90"`)) || effect.Repeated || !strings.Contains(effect.Evidence, "answered 201, sha256:") {
		t.Errorf("%s, %+v", effect.Steps[0].Result, effect)
	}
	if rec := effect.Steps[2].After[0]; rec.Get("id").IsNull() || rec.Get("body").Text != "Called back." {
		t.Errorf("the record created: %+v", rec)
	}
	if rec := effect.Steps[1].After[0]; rec.Version != `"2"` {
		t.Errorf("the record updated: %+v", rec)
	}
	again, err := f.apply(refundStep("k1"))
	if err != nil || !again.Repeated || !bytes.Equal(again.Steps[0].Result, effect.Steps[0].Result) || f.desk.Effects()["createRefund"] != 1 {
		t.Errorf("the same key again: %+v, %v", again, err)
	}
}

// TestClasses: what is told of a write whose answer is lost, and how often it
// is done and sent, by outcome class.
func TestClasses(t *testing.T) {
	for _, x := range []struct {
		name      string
		fault     desk.Fault
		step      connectors.Step
		operation string
		code      connectors.Code
		sent      int
		done      int
	}{
		{"idempotent, reply dropped once", desk.Fault{Kind: desk.FaultDropReply, Times: 1}, refundStep("k"), "createRefund", "", 2, 1},
		{"idempotent, always dropped", desk.Fault{Kind: desk.FaultDropReply}, refundStep("k"), "createRefund", connectors.CodeOutcomeUnknown, 3, 1},
		{"idempotent, failed after the effect", desk.Fault{Kind: desk.FaultStatusDone, Status: 500, Times: 1}, refundStep("k"), "createRefund", "", 2, 1},
		{"idempotent, busy once", desk.Fault{Kind: desk.FaultStatus, Status: 503, Times: 1}, refundStep("k"), "createRefund", "", 2, 1},
		{"idempotent, without a key", desk.Fault{Kind: desk.FaultDropReply}, refundStep(""), "createRefund", connectors.CodeOutcomeUnknown, 1, 1},
		{"idempotent, garbage", desk.Fault{Kind: desk.FaultGarbage}, refundStep("k"), "createRefund", "", 1, 1},
		{"idempotent, huge", desk.Fault{Kind: desk.FaultHuge}, refundStep("k"), "createRefund", "", 1, 1},
		{"unverifiable, reply dropped", desk.Fault{Kind: desk.FaultDropReply}, commentStep(), "createComment", connectors.CodeOutcomeUnknown, 1, 1},
		{"unverifiable, dropped before", desk.Fault{Kind: desk.FaultDropBefore}, commentStep(), "createComment", connectors.CodeOutcomeUnknown, 1, 0},
		{"unverifiable, failed", desk.Fault{Kind: desk.FaultStatusDone, Status: 500}, commentStep(), "createComment", connectors.CodeOutcomeUnknown, 1, 1},
		{"unverifiable, refused", desk.Fault{Kind: desk.FaultStatus, Status: 422}, commentStep(), "createComment", connectors.CodeValidationFailed, 1, 0},
		{"unverifiable, slow down", desk.Fault{Kind: desk.FaultStatus, Status: 429, Header: http.Header{"Retry-After": {"7"}}}, commentStep(), "createComment", connectors.CodeUpstreamRateLimited, 1, 0},
		{"unverifiable, credential refused", desk.Fault{Kind: desk.FaultStatus, Status: 403}, commentStep(), "createComment", connectors.CodeUpstreamError, 1, 0},
		{"unverifiable, garbage", desk.Fault{Kind: desk.FaultGarbage}, commentStep(), "createComment", "", 1, 1},
		{"unverifiable, another type", desk.Fault{Kind: desk.FaultBody, Body: `[1]`}, commentStep(), "createComment", "", 1, 1},
	} {
		f := start(t, nil)
		x.fault.Operation = x.operation
		f.desk.Misbehave(x.fault)
		effect, err := f.apply(x.step)
		code := connectors.Code("")
		if err != nil {
			code = err.Code
		}
		if code != x.code || f.desk.Requests()[x.operation] != x.sent || f.desk.Effects()[x.operation] != x.done {
			t.Errorf("%s: %q, sent %d, done %d; want %q, %d, %d", x.name, code, f.desk.Requests()[x.operation], f.desk.Effects()[x.operation], x.code, x.sent, x.done)
		}
		if code == "" && (len(effect.Steps) != 1 || effect.Steps[0].Affected != 1 || effect.Evidence == "") {
			t.Errorf("%s: %+v", x.name, effect)
		}
		if x.fault.Status == 429 && err.RetryAfter.Seconds() != 7 {
			t.Errorf("%s: retry after %s", x.name, err.RetryAfter)
		}
	}
}

func TestTimedOutWrite(t *testing.T) {
	f := start(t, nil)
	held := make(chan struct{})
	f.desk.Misbehave(desk.Fault{Operation: "createComment", Kind: desk.FaultHold, Until: make(chan struct{}), Held: held})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-held; cancel() }()
	_, err := f.src.Apply(ctx, nil, change(commentStep()))
	if connectors.CodeOf(err) != connectors.CodeOutcomeUnknown || f.desk.Effects()["createComment"] != 1 {
		t.Errorf("%v, effects %v", err, f.desk.Effects())
	}
	if _, err := f.src.Apply(ctx, nil, change(commentStep())); connectors.CodeOf(err) != connectors.CodeTimeout || f.desk.Effects()["createComment"] != 1 {
		t.Errorf("under a context that has ended: %v", err)
	}
}

func TestStepsInOrderUntilOneFails(t *testing.T) {
	f := start(t, nil)
	f.desk.Misbehave(desk.Fault{Operation: "createRefund", Kind: desk.FaultStatus, Status: 422})
	effect, err := f.apply(commentStep(), refundStep("k"), commentStep())
	if err == nil || err.Code != connectors.CodeValidationFailed || err.Step != 1 || len(effect.Steps) != 1 || f.desk.Effects()["createComment"] != 1 {
		t.Errorf("%+v, %v", effect, err)
	}
}

// TestExpectations: what was approved runs on the record it was approved for.
func TestExpectations(t *testing.T) {
	f := start(t, nil)
	preview, err := f.src.Preview(context.Background(), nil, change(updateStep("", "maya@desk.example")))
	if err != nil {
		t.Fatal(err)
	}
	step := updateStep("k", "maya@desk.example")
	before := preview.Steps[0].Before[0]
	step.Expect = []connectors.Expectation{{Key: before.Key, Fields: before.Fields}}
	// A field that nobody expects anything of may move.
	f.desk.Edit(400, func(t *desk.Ticket) { t.Priority = "low" })
	if _, err := f.apply(step); err != nil {
		t.Fatalf("another field moved: %v", err)
	}
	// The same again, as after a crash: the record is as the change left it, and
	// the system knows the key.
	effect, failure := f.apply(step)
	if failure != nil || !effect.Repeated || f.desk.Effects()["updateTicket"] != 1 {
		t.Errorf("run again: %+v, %v", effect, failure)
	}
	f.desk.Edit(400, func(t *desk.Ticket) { who := "somebody@desk.example"; t.Assignee = &who })
	if _, failure = f.apply(step); failure == nil || failure.Code != connectors.CodeProposalStale {
		t.Errorf("an expected field moved: %v", failure)
	}
	step.Expect[0].Key = []connectors.Assign{{Field: "id", Value: connectors.Int(399)}}
	if _, failure = f.apply(step); failure == nil || failure.Code != connectors.CodeProposalStale {
		t.Errorf("another record was expected: %v", failure)
	}
	if n := f.desk.Effects()["updateTicket"]; n != 1 {
		t.Errorf("%d effects", n)
	}
}

func TestGuards(t *testing.T) {
	f := start(t, nil)
	version := func(v string) *string { return &v }
	for name, x := range map[string]struct {
		change func(*connectors.Step)
		want   connectors.Code
	}{
		"where that holds":      {func(s *connectors.Step) { s.Where = eq("status", connectors.String("open")) }, ""},
		"where that does not":   {func(s *connectors.Step) { s.Where = eq("status", connectors.String("closed")) }, connectors.CodeNotFound},
		"check that does not":   {func(s *connectors.Step) { s.Check = eq("requesterEmail", connectors.String("x")) }, connectors.CodeCheckViolation},
		"the version":           {func(s *connectors.Step) { s.IfVersion = version(`"1"`) }, ""},
		"an old version":        {func(s *connectors.Step) { s.IfVersion = version(`"0"`) }, connectors.CodeVersionConflict},
		"no such record":        {func(s *connectors.Step) { s.Key[0].Value = connectors.Int(9999) }, connectors.CodeNotFound},
		"another class":         {func(s *connectors.Step) { s.Class = connectors.Unverifiable }, connectors.CodeUnsupported},
		"a field not written":   {func(s *connectors.Step) { s.Set[0].Field = "description" }, connectors.CodeValidationFailed},
		"an unknown field":      {func(s *connectors.Step) { s.Set[0].Field = "secret" }, connectors.CodeUnsupported},
		"a null that cannot be": {func(s *connectors.Step) { s.Set[0] = connectors.Assign{Field: "subject", Value: connectors.Null} }, connectors.CodeValidationFailed},
		"none of the enum": {func(s *connectors.Step) {
			s.Set[0] = connectors.Assign{Field: "status", Value: connectors.String("new")}
		}, connectors.CodeValidationFailed},
		"text too long": {func(s *connectors.Step) {
			s.Set[0] = connectors.Assign{Field: "subject", Value: connectors.String(strings.Repeat("x", 201))}
		}, connectors.CodeValidationFailed},
		"an increment":           {func(s *connectors.Step) { s.Set[0].Increment = true }, connectors.CodeUnsupported},
		"by condition":           {func(s *connectors.Step) { s.Key = nil; s.Where = eq("status", connectors.String("open")) }, connectors.CodeUnsupported},
		"an undeclared where":    {func(s *connectors.Step) { s.Where = eq("subject", connectors.String("x")) }, connectors.CodeUnsupported},
		"a delete":               {func(s *connectors.Step) { s.Kind = connectors.Delete }, connectors.CodeUnsupported},
		"a key of two":           {func(s *connectors.Step) { s.Key = append(s.Key, s.Key[0]) }, connectors.CodeBadInput},
		"a function that is not": {func(s *connectors.Step) { *s = connectors.Step{Kind: connectors.Call, Function: "getTicket"} }, connectors.CodeUnsupported},
	} {
		f.desk.Edit(400, func(t *desk.Ticket) { t.Status = "open" })
		step := updateStep("key of "+name, "maya@desk.example")
		if name == "the version" {
			effect, err := f.src.Preview(context.Background(), nil, change(step))
			if err != nil {
				t.Fatal(err)
			}
			step.IfVersion = version(effect.Steps[0].Before[0].Version)
		} else {
			x.change(&step)
		}
		before := f.desk.Effects()["updateTicket"]
		_, err := f.src.Preview(context.Background(), nil, change(step))
		if connectors.CodeOf(err) != x.want {
			t.Errorf("preview, %s: %v, want %q", name, err, x.want)
		}
		_, failure := f.apply(step)
		code := connectors.Code("")
		if failure != nil {
			code = failure.Code
		}
		if done := f.desk.Effects()["updateTicket"] - before; code != x.want || done == 1 != (x.want == "") {
			t.Errorf("apply, %s: %v, want %q; %d effects", name, failure, x.want, done)
		}
	}
}

// TestNothingMovesBetweenReadAndWrite: the record is changed after it was read
// and before the request arrives; If-Match notices.
func TestNothingMovesBetweenReadAndWrite(t *testing.T) {
	d, err := desk.New(desk.Options{Token: "t0ken-of-desk", Requesters: people()})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PATCH" {
			d.Edit(400, func(t *desk.Ticket) { t.Subject += "!" })
		}
		d.Handler().ServeHTTP(w, r)
	}))
	defer web.Close()
	src, err := openapi.Open(deskConfig(web.URL), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := src.Apply(context.Background(), nil, change(updateStep("k", "maya@desk.example"))); connectors.CodeOf(err) != connectors.CodeVersionConflict || d.Effects()["updateTicket"] != 0 {
		t.Errorf("%v, effects %v", err, d.Effects())
	}
}

// TestWhatWasShownIsSent compares the digests of the requests that previews
// show with those that arrive, byte by byte.
func TestWhatWasShownIsSent(t *testing.T) {
	d, err := desk.New(desk.Options{Token: "t0ken-of-desk", Requesters: people()})
	if err != nil {
		t.Fatal(err)
	}
	inner := httptest.NewServer(d.Handler())
	defer inner.Close()
	target, err := url.Parse(inner.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	var mu sync.Mutex
	var arrived []string
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			arrived = append(arrived, digest(r.Method, "http://"+r.Host+r.RequestURI, func(name string) string { return r.Header.Get(name) }, string(body)))
			mu.Unlock()
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	defer web.Close()
	src, err := openapi.Open(deskConfig(web.URL), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	c := change(refundStep("k"), updateStep("k", "maya@desk.example"), commentStep(), connectors.Step{ID: "new", Kind: connectors.Create, Collection: "tickets",
		Set: []connectors.Assign{{Field: "subject", Value: connectors.String("Ünïcode & \u2028 more")}, {Field: "description", Value: connectors.String("x\ny")},
			{Field: "requesterEmail", Value: connectors.String("x@example.com")}, {Field: "tags", Value: connectors.ListOf(connectors.String("a"), connectors.String("b"))}}})
	preview, err := src.Preview(context.Background(), nil, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Apply(context.Background(), nil, c); err != nil {
		t.Fatal(err, connectors.AsError(err).Cause)
	}
	if len(arrived) != len(c.Steps) {
		t.Fatalf("%d requests", len(arrived))
	}
	for i, s := range preview.Steps {
		header := func(name string) string {
			for _, h := range s.Request.Header {
				if h.Name == name {
					return h.Value.Text
				}
			}
			return ""
		}
		if want := digest(s.Request.Method, s.Request.URL, header, s.Request.Body); arrived[i] != want {
			t.Errorf("step %d: something else was sent than %+v", i, s.Request)
		}
	}
}

func digest(method, url string, header func(string) string, body string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(method+"\x00"+url+"\x00"+header("Content-Type")+"\x00"+header("Accept")+"\x00"+body)))
}

func TestChangesThatCannotBe(t *testing.T) {
	f := start(t, nil)
	for name, c := range map[string]*connectors.Change{
		"nil": nil, "empty": change(), "another version": {Version: 9, Steps: []connectors.Step{commentStep()}},
		"a marker": {Version: 1, Steps: []connectors.Step{commentStep()}, Marker: &connectors.Marker{}},
	} {
		_, err := f.src.Apply(context.Background(), nil, c)
		if code := connectors.CodeOf(err); code != connectors.CodeBadInput && code != connectors.CodeUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(f.desk.Requests()) != 0 {
		t.Errorf("calls %v", f.desk.Requests())
	}
}
