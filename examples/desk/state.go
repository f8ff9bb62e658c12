package desk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A Ticket is one request of a customer.
type Ticket struct {
	ID             int64     `json:"id"`
	Subject        string    `json:"subject"`
	Description    string    `json:"description"`
	Status         string    `json:"status"`
	Priority       string    `json:"priority"`
	RequesterEmail string    `json:"requesterEmail"`
	OrderID        *int64    `json:"orderId"`
	Assignee       *string   `json:"assignee"`
	Tags           []string  `json:"tags"`
	Origin         Origin    `json:"origin"`
	CreatedAt      time.Time `json:"createdAt"`
	UpdatedAt      time.Time `json:"updatedAt"`
	// Version counts the changes; clients see it as the ETag.
	Version int64 `json:"-"`
}

func (t *Ticket) clone() *Ticket {
	c := *t
	c.Tags = slices.Clone(t.Tags)
	return &c
}

// An Origin says how a ticket came in.
type Origin struct {
	Channel string  `json:"channel"`
	Locale  *string `json:"locale"`
}

// A Comment is an answer or a note on a ticket.
type Comment struct {
	ID        int64     `json:"id"`
	TicketID  int64     `json:"ticketId"`
	Author    string    `json:"author"`
	Body      string    `json:"body"`
	Public    bool      `json:"public"`
	CreatedAt time.Time `json:"createdAt"`
}

// A Refund is money paid back. Amount is a decimal in major units.
type Refund struct {
	ID        int64     `json:"id"`
	TicketID  int64     `json:"ticketId"`
	OrderID   int64     `json:"orderId"`
	Amount    string    `json:"amount"`
	Currency  string    `json:"currency"`
	Reason    string    `json:"reason"`
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"createdAt"`
}

// A stored answer of an idempotency key.
type keyed struct {
	Key    string          `json:"key"`    // with the operation and path in front
	Digest string          `json:"digest"` // of the request body
	At     time.Time       `json:"at"`
	Status int             `json:"status"`
	ETag   string          `json:"etag,omitempty"`
	Body   json.RawMessage `json:"body"`
}

// An entry is one line of the journal: what changed, and the answer kept for
// its idempotency key, so that a crash loses both or none.
type entry struct {
	Ticket  *Ticket  `json:"ticket,omitempty"`
	Version int64    `json:"version,omitempty"` // of Ticket
	Comment *Comment `json:"comment,omitempty"`
	Refund  *Refund  `json:"refund,omitempty"`
	Keyed   *keyed   `json:"keyed,omitempty"`
}

// state is everything the desk knows.
type state struct {
	tickets  map[int64]*Ticket
	comments map[int64][]*Comment // by ticket, oldest first
	refunds  map[int64]*Refund
	keys     map[string]*keyed
	lastID   int64 // ids are shared by all kinds
}

func newState() state {
	return state{tickets: make(map[int64]*Ticket), comments: make(map[int64][]*Comment),
		refunds: make(map[int64]*Refund), keys: make(map[string]*keyed)}
}

// apply makes an entry visible.
func (s *state) apply(e entry) {
	if e.Ticket != nil {
		if e.Ticket.Version == 0 {
			e.Ticket.Version = max(e.Version, 1)
		}
		s.tickets[e.Ticket.ID] = e.Ticket
		s.lastID = max(s.lastID, e.Ticket.ID)
	}
	if c := e.Comment; c != nil {
		s.comments[c.TicketID] = append(s.comments[c.TicketID], c)
		s.lastID = max(s.lastID, c.ID)
	}
	if r := e.Refund; r != nil {
		s.refunds[r.ID] = r
		s.lastID = max(s.lastID, r.ID)
	}
	if e.Keyed != nil {
		s.keys[e.Keyed.Key] = e.Keyed
	}
}

// journal is the append-only file of entries, one JSON line each.
type journal struct {
	mu   sync.Mutex
	file *os.File
	size int64 // end of the last whole line
}

// openJournal reads what is there. A last line that was cut by a crash is cut
// off: its effect was never answered for.
func openJournal(dir string) (*journal, []entry, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("the desk's folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "desk.journal"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("the desk's journal: %w", err)
	}
	j := &journal{file: file}
	entries, err := j.read()
	if err == nil {
		err = file.Truncate(j.size)
	}
	if err == nil {
		_, err = file.Seek(j.size, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("the desk's journal: %w", err)
	}
	return j, entries, nil
}

func (j *journal) read() ([]entry, error) {
	var entries []entry
	in := bufio.NewReader(j.file)
	for line := 1; ; line++ {
		raw, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		entries = append(entries, e)
		j.size += int64(len(raw))
	}
}

// append writes entries and syncs. What was written of a failed append is cut
// off again, so that the next one begins on a line of its own.
func (j *journal) append(entries ...entry) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, e := range entries {
		if e.Ticket != nil {
			e.Version = e.Ticket.Version
		}
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	_, err := j.file.Write(buf.Bytes())
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return errors.Join(err, j.file.Truncate(j.size), seekTo(j.file, j.size))
	}
	j.size += int64(buf.Len())
	return nil
}

func seekTo(f *os.File, at int64) error {
	_, err := f.Seek(at, io.SeekStart)
	return err
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}
