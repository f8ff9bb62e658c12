package desk

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const maxBatch = 100

// optional tells a member that is absent from one that is null.
type optional[T any] struct {
	set   bool
	null  bool
	value T
}

// UnmarshalJSON is called only for members that are there.
func (o *optional[T]) UnmarshalJSON(raw []byte) error {
	o.set = true
	if bytes.Equal(raw, []byte("null")) {
		o.null = true
		return nil
	}
	return json.Unmarshal(raw, &o.value)
}

type ticketInput struct {
	Subject        optional[string]   `json:"subject"`
	Description    optional[string]   `json:"description"`
	RequesterEmail optional[string]   `json:"requesterEmail"`
	Status         optional[string]   `json:"status"`
	Priority       optional[string]   `json:"priority"`
	OrderID        optional[int64]    `json:"orderId"`
	Assignee       optional[string]   `json:"assignee"`
	Tags           optional[[]string] `json:"tags"`
}

func decode(body []byte, into any) *problem {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return refuse(http.StatusBadRequest, "the body is not the JSON expected: "+err.Error())
	}
	if _, err := d.Token(); err != io.EOF {
		return refuse(http.StatusBadRequest, "the body goes on after its JSON value")
	}
	return nil
}

func (s *Server) listTickets(r *http.Request) (*reply, *problem) {
	q := r.URL.Query()
	status := q.Get("status")
	if status != "" && !slices.Contains(ticketStatuses(), status) {
		return nil, refuse(http.StatusBadRequest, "status is none of "+strings.Join(ticketStatuses(), ", "))
	}
	var requesters []string
	if v := q.Get("requester"); v != "" {
		requesters = strings.Split(v, ",")
	}
	if len(requesters) > maxBatch {
		return nil, refuse(http.StatusBadRequest, "requester takes at most 100 addresses")
	}
	var since time.Time
	if v := q.Get("updatedSince"); v != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return nil, refuse(http.StatusBadRequest, "updatedSince is no RFC 3339 time")
		}
	}
	all := slices.SortedFunc(maps.Values(s.state.tickets), func(a, b *Ticket) int { return cmp.Compare(b.ID, a.ID) })
	all = slices.DeleteFunc(all, func(t *Ticket) bool {
		return status != "" && t.Status != status || requesters != nil && !slices.Contains(requesters, t.RequesterEmail) ||
			t.UpdatedAt.Before(since)
	})
	return page(r, all, func(t *Ticket) int64 { return t.ID })
}

func (s *Server) getTicketsBatch(r *http.Request) (*reply, *problem) {
	ids, prob := idList(r.URL.Query().Get("ids"))
	if prob != nil {
		return nil, prob
	}
	if ids == nil {
		return nil, refuse(http.StatusBadRequest, "ids is missing")
	}
	found := []*Ticket{}
	for _, id := range ids {
		if t := s.state.tickets[id]; t != nil {
			found = append(found, t)
		}
	}
	return &reply{status: http.StatusOK, body: map[string]any{"data": found}}, nil
}

func (s *Server) getTicket(r *http.Request) (*reply, *problem) {
	t, prob := s.ticket(r)
	if prob != nil {
		return nil, prob
	}
	return &reply{status: http.StatusOK, etag: etag(t.Version), body: t}, nil
}

func (s *Server) createTicket(_ *http.Request, body []byte) (entry, *reply, *problem) {
	var in ticketInput
	if prob := decode(body, &in); prob != nil {
		return entry{}, nil, prob
	}
	if in.Status.set {
		return entry{}, nil, refuse(http.StatusBadRequest, "a new ticket is open: status is not taken")
	}
	for _, need := range []struct {
		name string
		o    optional[string]
	}{{"subject", in.Subject}, {"description", in.Description}, {"requesterEmail", in.RequesterEmail}} {
		if !need.o.set || need.o.null {
			return entry{}, nil, invalid(need.name, "is missing")
		}
	}
	if a, err := mail.ParseAddress(in.RequesterEmail.value); err != nil || a.Address != in.RequesterEmail.value {
		return entry{}, nil, invalid("requesterEmail", "is no e-mail address")
	}
	if n := utf8.RuneCountInString(in.Description.value); n == 0 || n > 10000 {
		return entry{}, nil, invalid("description", "has 1 to 10000 characters")
	}
	now := s.now()
	t := &Ticket{ID: s.state.lastID + 1, Version: 1, Status: "open", Priority: "normal", Tags: []string{},
		Description: in.Description.value, RequesterEmail: in.RequesterEmail.value,
		Origin: Origin{Channel: "web"}, CreatedAt: now, UpdatedAt: now}
	if prob := in.onto(t); prob != nil {
		return entry{}, nil, prob
	}
	return entry{Ticket: t}, &reply{status: http.StatusCreated, etag: etag(t.Version), body: t}, nil
}

func (s *Server) updateTicket(r *http.Request, body []byte) (entry, *reply, *problem) {
	old, prob := s.ticket(r)
	if prob != nil {
		return entry{}, nil, prob
	}
	if m := r.Header.Get("If-Match"); m != "" && m != "*" && m != etag(old.Version) {
		return entry{}, nil, refuse(http.StatusPreconditionFailed, "the ticket was changed meanwhile")
	}
	var in ticketInput
	if prob := decode(body, &in); prob != nil {
		return entry{}, nil, prob
	}
	if in.Description.set || in.RequesterEmail.set {
		return entry{}, nil, refuse(http.StatusBadRequest, "description and requesterEmail cannot be changed")
	}
	if old.Status == "closed" {
		return entry{}, nil, refuse(http.StatusConflict, "a closed ticket cannot be changed")
	}
	t := old.clone()
	t.Version, t.UpdatedAt = old.Version+1, s.now()
	if prob := in.onto(t); prob != nil {
		return entry{}, nil, prob
	}
	return entry{Ticket: t}, &reply{status: http.StatusOK, etag: etag(t.Version), body: t}, nil
}

// onto checks the members that create and update share, and sets them.
func (in *ticketInput) onto(t *Ticket) *problem {
	if in.Subject.set {
		if n := utf8.RuneCountInString(in.Subject.value); n == 0 || n > 200 {
			return invalid("subject", "has 1 to 200 characters")
		}
		t.Subject = in.Subject.value
	}
	if in.Status.set {
		if !slices.Contains(ticketStatuses(), in.Status.value) {
			return invalid("status", "is none of "+strings.Join(ticketStatuses(), ", "))
		}
		t.Status = in.Status.value
	}
	if in.Priority.set {
		if !slices.Contains(ticketPriorities(), in.Priority.value) {
			return invalid("priority", "is none of "+strings.Join(ticketPriorities(), ", "))
		}
		t.Priority = in.Priority.value
	}
	if in.OrderID.set {
		t.OrderID = in.OrderID.pointer()
	}
	if in.Assignee.set {
		t.Assignee = in.Assignee.pointer()
	}
	if in.Tags.set {
		if len(in.Tags.value) > 20 {
			return invalid("tags", "are at most 20")
		}
		t.Tags = append([]string{}, in.Tags.value...)
	}
	return nil
}

func (o optional[T]) pointer() *T {
	if o.null {
		return nil
	}
	return &o.value
}

func (s *Server) listComments(r *http.Request) (*reply, *problem) {
	t, prob := s.ticket(r)
	if prob != nil {
		return nil, prob
	}
	all := slices.Clone(s.state.comments[t.ID])
	slices.Reverse(all)
	return page(r, all, func(c *Comment) int64 { return c.ID })
}

func (s *Server) createComment(r *http.Request, body []byte) (entry, *reply, *problem) {
	t, prob := s.ticket(r)
	if prob != nil {
		return entry{}, nil, prob
	}
	in := struct {
		Body   string `json:"body"`
		Author string `json:"author"`
		Public bool   `json:"public"`
	}{Author: "desk@support.example"}
	if prob := decode(body, &in); prob != nil {
		return entry{}, nil, prob
	}
	if n := utf8.RuneCountInString(in.Body); n == 0 || n > 10000 {
		return entry{}, nil, invalid("body", "has 1 to 10000 characters")
	}
	if a, err := mail.ParseAddress(in.Author); err != nil || a.Address != in.Author {
		return entry{}, nil, invalid("author", "is no e-mail address")
	}
	c := &Comment{ID: s.state.lastID + 1, TicketID: t.ID, Author: in.Author, Body: in.Body, Public: in.Public, CreatedAt: s.now()}
	return entry{Comment: c}, &reply{status: http.StatusCreated, body: c}, nil
}

func (s *Server) listRefunds(r *http.Request) (*reply, *problem) {
	ids, prob := idList(r.URL.Query().Get("ticketId"))
	if prob != nil {
		return nil, prob
	}
	all := slices.SortedFunc(maps.Values(s.state.refunds), func(a, b *Refund) int { return cmp.Compare(b.ID, a.ID) })
	all = slices.DeleteFunc(all, func(x *Refund) bool { return ids != nil && !slices.Contains(ids, x.TicketID) })
	return page(r, all, func(x *Refund) int64 { return x.ID })
}

func (s *Server) getRefund(r *http.Request) (*reply, *problem) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	x := s.state.refunds[id]
	if err != nil || x == nil {
		return nil, refuse(http.StatusNotFound, "there is no such refund")
	}
	return &reply{status: http.StatusOK, etag: etag(1), body: x}, nil
}

func (s *Server) createRefund(_ *http.Request, body []byte) (entry, *reply, *problem) {
	var in struct {
		TicketID int64  `json:"ticketId"`
		OrderID  int64  `json:"orderId"`
		Amount   string `json:"amount"`
		Currency string `json:"currency"`
		Reason   string `json:"reason"`
	}
	if prob := decode(body, &in); prob != nil {
		return entry{}, nil, prob
	}
	switch {
	case s.state.tickets[in.TicketID] == nil:
		return entry{}, nil, invalid("ticketId", "names no ticket")
	case in.OrderID <= 0:
		return entry{}, nil, invalid("orderId", "is missing")
	case !isAmount(in.Amount):
		return entry{}, nil, invalid("amount", "is no positive amount with at most two digits after the point")
	case !isCurrency(in.Currency):
		return entry{}, nil, invalid("currency", "is no code of three capital letters")
	case in.Reason == "" || utf8.RuneCountInString(in.Reason) > 500:
		return entry{}, nil, invalid("reason", "has 1 to 500 characters")
	}
	x := &Refund{ID: s.state.lastID + 1, TicketID: in.TicketID, OrderID: in.OrderID, Amount: in.Amount,
		Currency: in.Currency, Reason: in.Reason, Status: "pending", CreatedAt: s.now()}
	return entry{Refund: x}, &reply{status: http.StatusCreated, etag: etag(1), body: x}, nil
}

func (s *Server) ticket(r *http.Request) (*Ticket, *problem) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, refuse(http.StatusNotFound, "there is no such ticket")
	}
	t := s.state.tickets[id]
	if t == nil {
		return nil, refuse(http.StatusNotFound, "there is no such ticket")
	}
	return t, nil
}

// page cuts one page out of records sorted by falling id.
func page[T any](r *http.Request, all []T, id func(T) int64) (*reply, *problem) {
	q := r.URL.Query()
	size := 30
	if v := q.Get("page[size]"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 100 {
			return nil, refuse(http.StatusBadRequest, "page[size] is 1 to 100")
		}
		size = n
	}
	if v := q.Get("page[after]"); v != "" {
		raw, err := base64.RawURLEncoding.DecodeString(v)
		last, err2 := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || err2 != nil {
			return nil, refuse(http.StatusBadRequest, "page[after] is not one of ours")
		}
		i := slices.IndexFunc(all, func(x T) bool { return id(x) < last })
		if i < 0 {
			i = len(all)
		}
		all = all[i:]
	}
	var next *string
	if len(all) > size {
		all = all[:size]
		q.Set("page[after]", base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(id(all[size-1]), 10))))
		u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawQuery: q.Encode()}
		text := u.String()
		next = &text
	}
	if all == nil {
		all = []T{}
	}
	return &reply{status: http.StatusOK, body: map[string]any{"data": all, "links": map[string]any{"next": next}}}, nil
}

func idList(text string) ([]int64, *problem) {
	if text == "" {
		return nil, nil
	}
	parts := strings.Split(text, ",")
	if len(parts) > maxBatch {
		return nil, refuse(http.StatusBadRequest, "at most 100 ids are taken")
	}
	ids := make([]int64, 0, len(parts))
	for _, p := range parts {
		id, err := strconv.ParseInt(p, 10, 64)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, "an id is no integer")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func ticketStatuses() []string   { return []string{"open", "pending", "solved", "closed"} }
func ticketPriorities() []string { return []string{"low", "normal", "high", "urgent"} }

func isAmount(s string) bool {
	ok, err := regexp.MatchString(`^[0-9]{1,9}(\.[0-9]{1,2})?$`, s)
	return err == nil && ok && strings.Trim(s, "0.") != ""
}

func isCurrency(s string) bool {
	return len(s) == 3 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
